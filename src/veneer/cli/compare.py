"""``veneer compare``: base against tuned, for a run or for two folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veneer.cli import completion
from veneer.cli.options import Json, Quiet
from veneer.cli.output import print_json
from veneer.cli.stage import do_stage
from veneer.errors import EXIT_DONE, EXIT_WORSE

RunOrFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run folder, or a folder of the base's pictures.",
        autocompletion=completion.complete_run,
    ),
]
Tuned = Annotated[
    Path | None, typer.Argument(metavar="TUNED", help="A folder of the tuned model's pictures.")
]
HeldOut = Annotated[
    Path | None,
    typer.Option("--held-out", help="With two folders: pictures of the style, not trained on."),
]
Training = Annotated[
    Path | None, typer.Option("--training", help="With two folders: pictures that were trained on.")
]
SomeLoras = Annotated[
    list[Path] | None,
    typer.Option("--lora", metavar="FILE", help="With a run: an adapter to compare; may be given often."),
]
SomeScales = Annotated[
    list[float] | None,
    typer.Option(
        "--scale", metavar="S", min=0.0, help="With a run: a strength to compare; may be given often."
    ),
]
EmbedderName = Annotated[
    str, typer.Option("--embedder", help="With two folders: pocket, or CLIP and DINO models by name.")
]
Blind = Annotated[
    bool,
    typer.Option("--blind", help="With a run: vote on pairs without names; goes on where it was stopped."),
]
PlanOnly = Annotated[
    bool,
    typer.Option("--plan", help="With a run: tell how many prompts a sure answer takes, and do nothing."),
]


def compare(
    run: RunOrFolder,
    tuned: Tuned = None,
    held_out: HeldOut = None,
    training: Training = None,
    lora: SomeLoras = None,
    scale: SomeScales = None,
    embedder: EmbedderName = "pocket",
    plan: PlanOnly = False,
    blind: Blind = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure base against tuned, and give the verdict; exit status 4 where it is `worse`.

    With --lora or --scale, every adapter at every strength is drawn and compared on the prompts and seeds of
    the run; the run's own verdict stays, and the exit status is 4 where every one of them is `worse`.
    """
    if plan:
        return _plan(run, as_json=as_json)
    if blind:
        return _blind(run)
    if lora or scale:
        if tuned is not None:
            raise typer.BadParameter("--lora and --scale go with a run, not with two folders of pictures")
        return _adapters(run, lora or [], scale or [], as_json=as_json, quiet=quiet)
    if tuned is None:
        do_stage("compare", run, as_json, quiet)
        return _status(_verdict_of(run))
    from veneer.cli.progress import ProgressPrinter
    from veneer.stages.compare import compare_folders, pictures_in

    with ProgressPrinter(quiet, ("compare",)) as on_event:
        found = compare_folders(
            run,
            tuned,
            embedder=embedder,
            held_out=pictures_in(held_out),
            training=pictures_in(training),
            on_event=on_event,
        )
    if as_json:
        print_json(found.plain())
    else:
        print(found.summary)
    return _status(found.verdict.word)


def _adapters(run: Path, loras: list[Path], scales: list[float], *, as_json: bool, quiet: bool) -> int:
    from veneer.cli.progress import ProgressPrinter
    from veneer.machine import set_threads
    from veneer.records.run import RunDir
    from veneer.stages.compare import compare_adapters

    set_threads()
    folder = RunDir(run)
    with ProgressPrinter(quiet, ("compare",)) as on_event:
        found = compare_adapters(folder, folder.read_recipe(), loras, scales, on_event)
    if as_json:
        print_json(found.plain())
    else:
        print(found.summary)
        print(f"sheet: {found.sheet}")
    return EXIT_WORSE if found.is_worse else EXIT_DONE


def _plan(run: Path, *, as_json: bool) -> int:
    """How many prompts the run's open questions need; before it was compared, what its number can show."""
    from veneer.proof.promptplan import prompts_after, prompts_before
    from veneer.records.metrics import Metrics
    from veneer.records.run import RunDir

    folder = RunDir(run)
    recipe = folder.read_recipe()
    if folder.metrics_json.is_file():
        told = prompts_after(Metrics.of(folder).model_dump(), recipe.compare.prompt_margin)
    else:
        told = prompts_before(len(recipe.generate.prompts) + recipe.compare.held_out_prompts)
    if as_json:
        print_json({"plan": told})
    else:
        print("\n".join(told))
    return EXIT_DONE


def _blind(run: Path) -> int:
    from veneer.cli.blind import vote
    from veneer.records.metrics import read_verdict
    from veneer.records.run import RunDir

    print(vote(RunDir(run), read_verdict(RunDir(run))[0]))
    return EXIT_DONE


def _verdict_of(run: Path) -> str:
    from veneer.records.metrics import read_verdict
    from veneer.records.run import RunDir

    return read_verdict(RunDir(run))[0]


def _status(verdict: str) -> int:
    return EXIT_WORSE if verdict == "worse" else EXIT_DONE
