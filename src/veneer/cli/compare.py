"""``veneer compare``: base against tuned, for a run or for two folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import Json, Quiet
from veneer.cli.output import print_json
from veneer.cli.stage import do_stage
from veneer.errors import EXIT_DONE, EXIT_WORSE


def compare(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a folder of the base's pictures.")
    ],
    tuned: Annotated[
        Path | None, typer.Argument(metavar="[TUNED]", help="A folder of the tuned model's pictures.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", help="With two folders: pictures of the style, not trained on."),
    ] = None,
    training: Annotated[
        Path | None, typer.Option("--training", help="With two folders: pictures that were trained on.")
    ] = None,
    embedder: Annotated[
        str, typer.Option("--embedder", help="With two folders: pocket, or CLIP and DINO models by name.")
    ] = "pocket",
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure base against tuned, and give the verdict; exit status 4 where it is `worse`."""
    if tuned is None:
        do_stage("compare", run, as_json, quiet)
        return _status(_verdict_of(run))
    from veneer.cli.progress import ProgressPrinter
    from veneer.stages.compare import compare_folders, pictures_in

    with ProgressPrinter(quiet) as on_event:
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


def _verdict_of(run: Path) -> str:
    from veneer.pipeline import read_verdict
    from veneer.rundir import RunDir

    return read_verdict(RunDir(run))[0]


def _status(verdict: str) -> int:
    return EXIT_WORSE if verdict == "worse" else EXIT_DONE
