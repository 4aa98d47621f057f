"""One stage of a run, by its folder."""

from __future__ import annotations

from pathlib import Path

from veneer.cli import output
from veneer.events import Event, OnEvent, ignore


def do_stage(name: str, run: Path, as_json: bool, quiet: bool, listener: OnEvent = ignore) -> int:
    """Do one stage and print what came out.

    Args:
        as_json: Whether to print one JSON object.
        quiet: Whether to show no progress.
        listener: Told of every event too.

    Returns:
        Exit status.
    """
    from veneer.cli.progress import ProgressPrinter
    from veneer.records.run import RunDir

    with ProgressPrinter(quiet, (name,)) as show:
        from veneer.pipeline import run_stage

        def on_event(event: Event) -> None:
            show(event)
            listener(event)

        outcome = run_stage(name, RunDir(run), on_event=on_event)
    output.print_result(outcome, as_json=as_json)
    return 0
