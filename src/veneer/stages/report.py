"""The report of a run: one page that opens offline, a sheet of pictures, a text for reading in a terminal.

``veneer report RUN``; ``--push`` sends the adapter with a model card to the hub, and nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from veneer.arguments import PathLike
from veneer.config import Recipe
from veneer.errors import NetworkError, RunError
from veneer.events import OnEvent, Progress, StageStarted
from veneer.lora.embedding_file import read_embedding
from veneer.lora.usage import write_usage
from veneer.notebook import in_notebook
from veneer.proof.page import gather, sheet_groups
from veneer.proof.sheet import draw_sheet
from veneer.records.checksums import renewed
from veneer.records.credits import read_credits
from veneer.records.dataset import Dataset
from veneer.records.files import write_bytes, write_json, write_text
from veneer.records.run import AnyRun, RunDir, opened

STAGE = "report"


@dataclass(frozen=True)
class ReportResult:
    """What `report` wrote.

    Attributes:
        index: Path of the page.
        grid: Path of the sheet of pictures.
        verdict: `better`, `worse`, `trade` or `not shown`.
    """

    index: str
    grid: str
    verdict: str

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.verdict}; {self.index}"


def report(
    run: AnyRun, recipe: Recipe | PathLike | None = None, on_event: OnEvent = in_notebook
) -> ReportResult:
    """Write ``index.html``, ``grid.png`` and ``report.md`` beside ``metrics.json``.

    Returns:
        What was written.

    Raises:
        RunError: If the comparison is missing.
    """
    run, recipe = opened(run, recipe)
    on_event(StageStarted(STAGE, 3, "files"))
    context = gather(run) | {"recipe": recipe}
    verdict = context["metrics"]["verdict"]
    headline = f"{run.name}: {context['metrics']['headline']}. Base above, tuned below, same seeds."
    write_bytes(run.grid_png, draw_sheet(sheet_groups(run), headline))
    on_event(Progress(STAGE, 1, run.grid_png.name))
    write_text(run.report_md, render("report.md.jinja", context))
    on_event(Progress(STAGE, 2, run.report_md.name))
    write_text(run.index_html, render("report.html.jinja", context))
    if context["usage"] is not None:
        write_json(run.webui_card, context["usage"].card(context["metrics"]["headline"]))
        with renewed(run, "export", run.kohya_file):
            write_usage(run.kohya_file, context["usage"])
    on_event(Progress(STAGE, 3, run.index_html.name))
    return ReportResult(str(run.index_html), str(run.grid_png), verdict)


run = report
"""The stage, as the pipeline calls it."""


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template.

    Args:
        template: Its file name in ``veneer/templates``.
        context: What it may use; a name that is missing is an error.

    Returns:
        The text; in HTML everything is escaped that did not come from the template itself.
    """
    environment = Environment(
        loader=PackageLoader("veneer", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context)


def model_card(run: RunDir, recipe: Recipe) -> str:
    """Write the hub's README for the adapter of a run.

    Returns:
        Markdown with the hub's header.
    """
    word = read_embedding(run.embedding_file) if run.embedding_file.is_file() else None
    own = {
        "recipe": recipe,
        "credits": read_credits(Dataset(run.dataset)),
        "has_two_vectors": word is not None and len(word.vectors) > 1,
    }
    return render("model_card.md.jinja", gather(run) | own)


def push(run: RunDir, recipe: Recipe, repo: str, *, private: bool = True) -> str:
    """Send adapter, model card, sheet and metrics to the hub.

    Args:
        repo: Name of the repository, such as ``me/my-style``.
        private: Whether a new repository is hidden from others.

    Returns:
        Address of the repository.

    Raises:
        RunError: If the run is not finished.
        NetworkError: If the hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    adapters = [path for path in (run.lora_file, run.embedding_file) if path.is_file()]
    files = {
        **{path.name: path for path in adapters or [run.lora_file]},
        **{path.name: path for path in (run.grid_png, run.metrics_json, run.recipe_toml)},
    }
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise RunError(
            "the run is not finished", where=", ".join(missing), todo="Run `veneer run` to its end"
        )
    card = model_card(run, recipe).encode("utf-8")
    operations = [CommitOperationAdd("README.md", card)]
    operations += [CommitOperationAdd(name, path) for name, path in files.items()]
    if run.kohya_file.is_file():
        operations.append(CommitOperationAdd(f"kohya/{run.kohya_file.name}", run.kohya_file))
    try:
        api = HfApi()
        address = str(api.create_repo(repo, exist_ok=True, private=private))
        api.create_commit(repo, operations, commit_message=f"Add {run.name}")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        todo = "Log in with `hf auth login`, and check the name OWNER/NAME"
        raise NetworkError(f"the hub took nothing: {reason}", where=repo, todo=todo) from error
    return address
