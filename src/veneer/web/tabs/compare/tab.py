"""The tab Compare: base against tuned with a slider, one's own prompts, checkpoints, report, files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from veneer.errors import RunError, VeneerError
from veneer.events import OnEvent
from veneer.records.metrics import known_metrics
from veneer.records.prompts import prompts_in
from veneer.records.run import RunDir
from veneer.web import busy, late, markup
from veneer.web.jobs.background import Outcome, watched
from veneer.web.late import offered
from veneer.web.messages import guarded
from veneer.web.server.engine import gr
from veneer.web.studio import Studio
from veneer.web.tabs.compare import blind, grid, own_prompts
from veneer.web.tabs.compare.pairs import SideBySide, find_beside, slider
from veneer.web.tabs.compare.targets import targets_html
from veneer.web.tabs.compare.verdict import report_frame, verdict_html
from veneer.web.usage import usage_html

FILES = ("LoRA for diffusers", "LoRA for A1111, ComfyUI", "Report")
READING = "Reading the run"
_LINE = "compare"
"""Questions about the run shown are answered as they were asked: what is shown last is the run chosen."""


@dataclass(frozen=True)
class CompareTab:
    """The tab's parts.

    Attributes:
        verdict: Verdict and measures.
        pair: Which pictures are beside each other.
        prompts: One's own prompts.
        targets: The true pictures of held-out captions beside what was drawn for them.
        rows: Checkpoints of the grid.
        others: LoRAs of other runs and tools in the grid.
        files: Buttons that download the LoRA and the report.
    """

    run: Any
    verdict: Any
    pair: Any
    beside: Any
    targets: Any
    prompts: Any
    rows: Any
    others: Any
    files: tuple[Any, Any, Any]
    message: Any

    @property
    def outputs(self) -> list[Any]:
        """What changes with the run."""
        filled = [self.verdict, self.pair, self.beside, self.targets, self.prompts, self.rows, self.others]
        return [*filled, *self.files]


def build(studio: Studio) -> CompareTab:
    """Lay out the tab.

    Returns:
        Its parts.
    """
    run = gr.Dropdown([], label="Run", elem_id="compare-run")
    with gr.Row():
        with gr.Column(min_width=300):
            pair = gr.Dropdown([], label="Prompt and seed", elem_id="compare-pair")
            beside = gr.HTML(elem_id="compare-beside")
        with gr.Column(min_width=300):
            verdict = gr.HTML(elem_id="compare-verdict")
            with gr.Row(elem_classes="v-tools"):
                files = [
                    gr.DownloadButton(name, elem_id=f"compare-file-{n}", interactive=False, size="md")
                    for n, name in enumerate(FILES)
                ]
    with gr.Accordion("The target beside the result", open=True):
        targets = gr.HTML(elem_id="compare-targets")
    with gr.Accordion("Prompts and seeds of your own", open=True):
        asked = _own_prompts()
        draw = gr.Button("Draw base and tuned", variant="primary", elem_id="compare-draw")
        drawn = gr.HTML(elem_id="compare-drawn")
    with gr.Accordion("Checkpoints, strengths and other LoRAs side by side", open=False):
        rows, others, strengths = _grid_parts()
        across = gr.Button("Draw the grid", elem_id="compare-grid")
        table = gr.HTML(elem_id="compare-table")
    blind.build(studio, run)
    with gr.Accordion("Report", open=False):
        show = gr.Button("Show the report", elem_id="compare-show")
        report = gr.HTML(elem_id="compare-report")
    message = gr.HTML(elem_id="compare-message")
    tab = CompareTab(
        run, verdict, pair, beside, targets, asked[0], rows, others, (files[0], files[1], files[2]), message
    )
    pair.input(
        guarded(lambda n, p: _beside(studio, n, p), None), [run, pair], [beside],
        trigger_mode="always_last", concurrency_id=_LINE,
    )  # fmt: skip
    mine = gr.State("")
    done = busy.telling(draw.click, "Drawing")(partial(_draw, studio), [run, *asked], [mine, drawn])
    late.bind(done.then, partial(_newest, studio), [run, mine], [pair, beside], line=_LINE)
    across_all = [run, *asked, rows, others, strengths]
    busy.telling(across.click, "Drawing")(partial(grid.draw_grid, studio), across_all, [table])
    busy.telling(show.click, "Fetching the report")(
        guarded(lambda n: report_frame(studio, n), None), [run], [report]
    )
    return tab


def _own_prompts() -> list[Any]:
    prompts = gr.Textbox(label="Prompts, one a line", lines=2, max_lines=8, elem_id="compare-prompts")
    with gr.Row():
        seeds = gr.Textbox("0, 1", label="Seeds", max_lines=1, elem_id="compare-seeds")
        scale = gr.Slider(
            0, 2, 1, step=0.05, label="Strength of the LoRA", elem_id="compare-scale",
            info="1 is as trained, 0 is the base.",
        )  # fmt: skip
        steps = gr.Textbox(label="Steps", max_lines=1, elem_id="compare-steps", placeholder="the recipe's")
    return [prompts, seeds, scale, steps]


def _grid_parts() -> list[Any]:
    """Rows of the grid: checkpoints, other LoRAs, and the strengths of each."""
    rows = gr.CheckboxGroup(
        [], label="Checkpoints", info="With the prompts and seeds above.", elem_id="compare-rows"
    )
    with gr.Row():
        others = gr.Dropdown(
            [], multiselect=True, label="Other LoRAs", elem_id="compare-others",
            info=f"Results of runs on the same base, and files in the workspace's folder {grid.FOREIGN}/.",
        )  # fmt: skip
        strengths = gr.Textbox(
            label="Strengths", placeholder="0.4, 0.8, 1", max_lines=1, elem_id="compare-strengths",
            info="Each is a row of its own; empty for the strength above.",
        )  # fmt: skip
    return [rows, others, strengths]


def wire(studio: Studio, tab: CompareTab, moments: list[Any]) -> None:
    """Fill the tab when it is opened or another run is chosen.

    Args:
        moments: Events that fill it.
    """
    fails = (gr.skip(),) * len(tab.outputs)

    def fill(run: str | None, pair: str | None, prompts: str) -> tuple[Any, ...]:
        names = studio.workspace.run_names()
        shown = run if run in names else next(iter(names), None)
        is_same = shown is not None and shown == run and bool(prompts.strip())
        return offered(names, run), *_shown(studio, shown, pair, keep=is_same), ""

    for moment in moments:
        late.bind(
            busy.telling(moment, READING),
            guarded(fill, (gr.skip(), *fails)),
            [tab.run, tab.pair, tab.prompts],
            [tab.run, *tab.outputs, tab.message],
            line=_LINE,
        )
    late.bind(
        busy.telling(tab.run.input, READING),
        guarded(lambda n: (*_shown(studio, n), ""), fails),
        [tab.run],
        [*tab.outputs, tab.message],
        trigger_mode="always_last",
        line=_LINE,
    )


def _shown(
    studio: Studio, run: str | None, pair: str | None = None, *, keep: bool = False
) -> tuple[Any, ...]:
    """What the tab shows of a run; ``keep`` leaves alone what the user wrote and ticked."""
    if not run:
        return _nothing()
    folder = studio.workspace.run(run)
    pairs = _pairs(studio, run)
    first = next((one for one in pairs if one.key == pair), pairs[0] if pairs else None)
    steps, known = own_prompts.checkpoints(folder), grid.others(studio, run)
    metrics = known_metrics(folder)
    return (
        verdict_html(metrics) + usage_html(folder),
        late.about(
            gr.update(choices=[(one.label, one.key) for one in pairs], value=first.key if first else None),
            run,
        ),
        slider(first)
        if first
        else markup.empty("No pictures yet", "They are drawn at the run's end, or by you below."),
        targets_html(folder, metrics.model_dump() if metrics else {}),
        gr.skip() if keep else _own(folder),
        gr.update(choices=steps) if keep else late.about(gr.update(choices=steps, value=steps[-4:]), run),
        gr.update(choices=known) if keep else late.about(gr.update(choices=known, value=[]), run),
        *[_file(path) for path in (folder.lora_file, folder.kohya_file, folder.index_html)],
    )


def _nothing() -> tuple[Any, ...]:
    text = markup.empty(
        "Nothing to compare yet",
        "A run ends with pictures of base and tuned: start one on the tab Train, or press “Try it with the "
        "bundled base” above.",
    )
    lists = gr.update(choices=[], value=None), gr.update(choices=[], value=[])
    return text, lists[0], "", "", gr.skip(), lists[1], lists[1], *[gr.update(interactive=False)] * 3


def _own(run: RunDir) -> str:
    try:
        return "\n".join(run.read_recipe().generate.prompts[:2])
    except VeneerError:
        return ""


def _pairs(studio: Studio, run: str) -> list[SideBySide]:
    folder = studio.workspace.run(run)
    pairs = find_beside(folder.drawn.of("base"), folder.drawn.of("tuned"), folder.drawn.prompts_json)
    drawn = studio.workspace.private / "drawn" / run
    for tuned in sorted(drawn.glob("*/tuned-*"), key=lambda path: -path.stat().st_mtime):
        note = f" · strength {tuned.name.removeprefix('tuned-')} (yours)"
        pairs = [*find_beside(tuned.parent / "base", tuned, prompts_in(tuned), note), *pairs]
    return pairs


def _beside(studio: Studio, run: str, key: str | None) -> str:
    for pair in _pairs(studio, run):
        if pair.key == key:
            return slider(pair)
    raise RunError("the pictures are gone", where=run, todo="Draw them again")


def _file(path: Path) -> Any:
    return gr.update(value=str(path) if path.is_file() else None, interactive=path.is_file())


def _draw(studio: Studio, run: str | None, *asked_for: Any) -> Iterator[tuple[Any, str]]:
    """Draw; the first output is the run once its pictures are there."""

    def work(on_event: OnEvent) -> list[str]:
        folder = studio.workspace.run(run or "")
        lora, embedding = own_prompts.learnt(folder)
        asked = own_prompts.read_own_prompts(studio.run_recipe(folder.name), *asked_for)
        out = own_prompts.place(studio, folder.name, asked)
        with studio.at_work():
            own_prompts.draw_pictures(folder, replace(asked, scale=1.0), None, out / "base", on_event)
            tuned = out / own_prompts.tuned_folder(asked)
            own_prompts.draw_pictures(folder, asked, lora, tuned, on_event, embedding=embedding)
        return own_prompts.shell_words(folder, asked, "drawn")

    outcome = Outcome()
    for told in watched(work, outcome):
        yield "", told
    if outcome.error is not None:
        yield "", outcome.message("")
        return
    yield run, outcome.message("Drawn: see above.") + markup.command(outcome.result)


def _newest(studio: Studio, run: str | None, drawn: str) -> tuple[Any, Any]:
    """What was drawn, unless another run is looked at by now."""
    if not drawn or run != drawn:
        return gr.skip(), gr.skip()
    pairs = _pairs(studio, run)
    return gr.update(choices=[(pair.label, pair.key) for pair in pairs], value=pairs[0].key), slider(pairs[0])
