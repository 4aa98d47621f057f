"""What a trial takes over from another: the stages that it would do the same, file by file.

Pictures and tensors are linked where the file system can, so that forty trials hold one data set; what is
written to in place is copied. A stage's record goes with its files, and the pipeline then finds it done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from veneer.changes import is_done
from veneer.config import Recipe
from veneer.records.checksums import damaged_files, record_done
from veneer.records.dataset import Dataset
from veneer.records.files import PARTIAL
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES, stage_of

DATA_STAGES = ("collect", "check", "caption", "encode")
"""Stages before training, which trials may have in common."""
IN_PLACE = frozenset({".csv", ".json", ".jsonl", ".html", ".txt"})
"""Endings of files that a later command may write to; they are copied."""


def take_over(
    trial: RunDir, recipe: Recipe, donors: Sequence[RunDir], stages: Sequence[str] = DATA_STAGES
) -> tuple[str, ...]:
    """Give a new trial what an earlier one has done the same way.

    Args:
        recipe: The trial's.
        donors: Other trials; the one that gives most is taken.
        stages: Stages that may be taken over.

    Returns:
        Stages that are done by it; none where the trial has begun already, or nothing fits.
    """
    if trial.read_record().stages:
        return ()
    given = {donor.root: common_stages(donor, recipe, stages) for donor in donors}
    donor = max(donors, key=lambda one: len(given[one.root]), default=None)
    if donor is None or not {"collect", "caption"} <= set(given[donor.root]):
        return ()  # captions are written into the data set, and cannot be taken out of it again
    taken = given[donor.root]
    for source in _files(donor, taken):
        _give(source, trial.root / source.relative_to(donor.root))
    _hand_on_records(donor, trial, taken)
    return taken


def common_stages(donor: RunDir, recipe: Recipe, names: Sequence[str] = DATA_STAGES) -> tuple[str, ...]:
    """Which stages of some a run has done just as a recipe would, with all that they follow."""
    fitting = {name for name in names if is_done(donor, recipe, name) and not damaged_files(donor, name)}
    return tuple(name for name in names if {name, *stage_of(name).ancestors} <= fitting)


def _files(donor: RunDir, stages: Sequence[str]) -> Iterator[Path]:
    checked = Dataset(donor.dataset)
    left_out = set() if "check" in stages else {checked.check_json, checked.check_html}
    kept = [donor.cache_index] if "encode" in stages else []
    kept += _within(donor.train) if "train" in stages else []
    # Tensors are named by all that they depend on: one that does not fit is not looked for.
    for path in (*_within(donor.dataset), *_within(donor.cache / "latents"), *_within(donor.cache / "text")):
        if path not in left_out:
            yield path
    yield from kept


def _within(folder: Path) -> list[Path]:
    names = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in names if path.name != ".lock" and not path.name.endswith(PARTIAL)]


def _give(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.unlink()
    if source.suffix not in IN_PLACE:
        try:
            os.link(source, target)
            return
        except OSError:  # a file system without links
            pass
    shutil.copy2(source, target)  # with its time: what was measured of a picture is known by it


def _hand_on_records(donor: RunDir, trial: RunDir, stages: Sequence[str]) -> None:
    """Write what was done into run.json last: a kill before it leaves the stages to do."""
    known = donor.read_record()
    entries = {name: known.stages[name] for name in STAGE_NAMES if name in stages}
    record = trial.read_record().model_copy(update={"stages": entries})
    record_done(trial, record, {name: stage_of(name).made(trial) for name in stages})
