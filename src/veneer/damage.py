"""What is damaged in a run folder is found before anything is built on it: made anew, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from veneer import processes
from veneer.errors import RunError
from veneer.events import Notice, OnEvent
from veneer.records.checksums import damaged_files, known_record
from veneer.records.run import RunDir, RunRecord
from veneer.stage import Stage


def mend_record(run: RunDir, on_event: OnEvent) -> None:
    """Where run.json is damaged, take its second copy; without that, every stage is looked at anew."""
    if not processes.is_main_process():
        return
    try:
        run.read_record()
    except RunError:
        known = known_record(run)
        copy = (
            "its copy in checksums.json is taken" if known else "every stage is done again where it has to be"
        )
        on_event(Notice("run", "record-damaged", f"{run.run_json} is damaged: {copy}"))
        (known or RunRecord(stages={})).write(run.run_json)


def clear_damaged(run: RunDir, stages: Sequence[Stage], on_event: OnEvent) -> frozenset[str]:
    """Take away what is no longer as a stage left it, and tell of it.

    Returns:
        Names of the stages that make it anew, the same in every process.

    Raises:
        RunError: If it is of a kept stage, and more than the file that says that the stage is done.
    """
    found = [damaged_files(run, stage.name) if processes.is_main_process() else [] for stage in stages]
    counts = processes.share_numbers([float(len(damaged)) for damaged in found])
    for stage, damaged in zip(stages, found, strict=True):
        _refuse_lost(stage, [path for path in damaged if path != stage.output(run)])
        if damaged:
            first = damaged[0].relative_to(run.root)
            what = f"{len(damaged)} files of `{stage.name}` are damaged or gone, such as {first}: made anew"
            on_event(Notice(stage.name, "output-damaged", what))
        for path in damaged:
            path.unlink(missing_ok=True)
    processes.wait_for_everyone()
    return frozenset(stage.name for stage, count in zip(stages, counts, strict=True) if count)


def refuse_unfit(run: RunDir, name: str) -> None:
    """Refuse to build on a stage whose files are damaged.

    Raises:
        RunError: If one is gone, or not what it was.
    """
    if lost := damaged_files(run, name):
        raise RunError(
            f"what `{name}` made is damaged",
            where=str(lost[0]),
            todo=f"Run `veneer {name}` again, or `veneer run`, which makes it anew",
        )


def _refuse_lost(stage: Stage, lost: Sequence[Path]) -> None:
    if stage.is_kept and lost:
        raise RunError(
            f"a file that `{stage.name}` made is damaged, and only all of it can be made anew",
            where=str(lost[0]),
            todo=f"Put it back from a copy, or add --redo {stage.name}",
        )
