"""Runs stopped at any event, or whose disk is full: the same command ends with the same bytes.

The whole folder is compared, times left out. Each case begins at a copy of the run as it is before the stage,
and is a process of its own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from bench.faults import Slice, WrongError
from bench.forking import Forker
from helpers import tiny
from veneer import preflight
from veneer.config import Recipe
from veneer.errors import VeneerError
from veneer.events import Event, OnEvent, StageFinished
from veneer.pipeline import run_stage
from veneer.recipe import resolve
from veneer.records.checksums import Checksums, damaged_files
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES

TIMES = re.compile(
    rb'"(seconds|images_per_second|peak_memory_gib|peak_device_memory_gib|started|finished|time|retrieved|at)":'
    rb' ?("[^"]*"|[0-9.e+-]+)'
)
SHOWN_TIMES = re.compile(rb"<summary>Seconds and memory.*?</details>", re.DOTALL)
STAMPS = re.compile(rb'"stamp": "[0-9-]+"')
"""When a picture was written."""
STOPS = 12
"""At how many of a stage's events it is stopped."""
SIZES = 12
"""Sizes of a disk that is too small for a stage, from nothing to a fifth more than it writes."""


@dataclass(frozen=True)
class Runs:
    """What all cases begin at.

    Attributes:
        before: The run as it is before each stage.
        after: Its files after each stage, by `hashes`.
        events: How many things each stage tells of before it is done.
        bytes: What each stage writes.
        place: Where the run of a case lies.
        forker: Makes the processes of cases.
        seconds: What each stage takes in such a process, as it was seen last.
        writes: How often each stage writes, where that was counted.
    """

    before: Mapping[str, Path]
    after: Mapping[str, Mapping[str, str]]
    events: Mapping[str, int]
    bytes: Mapping[str, int]
    place: Path
    forker: Forker
    seconds: dict[str, float] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)


def bench_pictures(folder: Path) -> Path:
    """Pictures to take and to leave out, and one caption that is too long."""
    pictures = tiny.tiny_pictures(folder, 10)
    first = min(pictures.glob("*.png"))
    (folder / "damaged.png").write_bytes(first.read_bytes()[:90])
    shutil.copy(first, folder / "the same.png")
    first.with_suffix(".txt").write_text("a red dot beside a blue one, " * 20)
    return pictures


def bench_recipe(base: Path, clip: Path, pictures: Path) -> Recipe:
    """A run of seconds with all that has a state of its own.

    Args:
        base: The tiny base.
        clip: The tiny CLIP.
    """
    return resolve(
        {
            "base": {"model": str(base)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": "none", "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "train": {
                "max_train_steps": 8,
                "learning_rate": 1e-2,
                "ema_decay": 0.9,
                "optimizer": "schedulefree",
                "average_last": 2,
                "checkpointing_steps": 3,
                "checkpoints_total_limit": 2,
                "validation_steps": 2,
                "preview_steps": 4,
            },
            "generate": {
                "prompts": ["a red dot", "a dog"],
                "seeds": [0, 1, 2],
                "num_inference_steps": 2,
                "resolution": 32,
            },
            "compare": {"embedder": str(clip), "held_out_prompts": 2, "general_prompts": ["a cat"]},
        }
    )


def whole_runs(folder: Path) -> Runs:
    """Take a run through all stages, and keep it as it is before each.

    Returns:
        What all cases begin at.
    """
    shutil.rmtree(folder, ignore_errors=True)
    forker, root = Forker(), folder / "run"
    forker.here(begin_run, folder)
    before, after, seconds, events, sizes = {}, {}, {}, {}, {}
    for stage in STAGE_NAMES:
        before[stage] = Path(shutil.copytree(root, folder / "before" / stage))
        do = forker.call if stage == "train" else forker.here  # what goes backwards cannot be forked after
        seconds[stage], events[stage] = do(timed_stage, stage, root)
        after[stage] = hashes(root)
        sizes[stage] = _size(root) - _size(before[stage])
    forker.here(begin_training, shutil.copytree(before["train"], folder / "warm"))
    return Runs(before, after, events, sizes, root, forker, seconds)


def begin_run(folder: Path) -> None:
    """Write the tiny models, the pictures and the recipe of a run."""
    base, clip = tiny.tiny_base(folder / "base"), tiny.tiny_clip(folder / "clip")
    pictures = bench_pictures(folder / "pictures")
    run = RunDir(folder / "run")
    run.root.mkdir(parents=True)
    run.write_recipe(bench_recipe(base, clip, pictures))


def timed_stage(stage: str, root: Path) -> tuple[float, int]:
    """Do a stage.

    Returns:
        What it took in seconds, and how many things it told of before it was done.
    """
    told: list[Event] = []
    began = time.monotonic()
    run_stage(stage, RunDir(root), redo=False, on_event=told.append)
    return time.monotonic() - began, sum(not isinstance(event, StageFinished) for event in told)


def roomy_stage(stage: str, root: Path) -> None:
    """Do a stage on a disk of any size."""
    with mock.patch.object(preflight, "ROOM_GIB", 0.0):
        run_stage(stage, RunDir(root), redo=False)


def begin_training(root: Path) -> None:
    """Load what training needs, and leave before its first step."""
    with suppress(StopError):
        run_stage("train", RunDir(root), redo=False, on_event=stop_at(0))


def hashes(root: Path) -> dict[str, str]:
    """Every file of a run by its bytes, times left out, and which checksums are true.

    Returns:
        Hashes by name.
    """
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    named = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    found = {name: hashlib.sha256(_timeless(name, content)).hexdigest() for name, content in named.items()}
    if "checksums.json" in found:
        found["checksums.json"] = _told_sums(root)
    return found


def _timeless(name: str, content: bytes) -> bytes:
    """A file without what tells a time."""
    if name.endswith(".html"):
        return SHOWN_TIMES.sub(b"", content)
    return STAMPS.sub(b"", TIMES.sub(rb'"\1": 0', content))


def _told_sums(root: Path) -> str:
    """What checksums.json says: files by stage, those that are not as it says, and its copy of run.json."""
    run = RunDir(root)
    known = Checksums.read(run.checksums_json, "")
    untrue = [path.name for stage in known.files for path in damaged_files(run, stage)]
    is_copy = known.record == run.read_record()
    return json.dumps([{stage: sorted(sums) for stage, sums in known.files.items()}, untrue, is_copy])


class StopError(BaseException):
    """A stop at an event; no `Exception`, as Ctrl-C is none."""


def try_stop(runs: Runs, number: int) -> str:
    """Stop a stage at one of the events that it tells of, and go on; where it has few, stop it there again.

    Args:
        runs: What to begin at.
        number: Number of the case; the stages take turns, and their events.

    Returns:
        "the same bytes".

    Raises:
        WrongError: If a file differs, is missing or left over.
    """
    stage, turn = STAGE_NAMES[number % len(STAGE_NAMES)], number // len(STAGE_NAMES)
    count = runs.events[stage]
    begin(runs, stage)
    for _ in range(1 + turn // count):
        runs.forker.call(stopped_stage, stage, runs.place, turn * max(1, count // STOPS) % count)
    return same(runs, stage)


def stopped_stage(stage: str, root: Path, event: int) -> None:
    """Do a stage until it tells of something, counted from 0."""
    with suppress(StopError):
        run_stage(stage, RunDir(root), redo=False, on_event=stop_at(event))


def stop_at(left: int) -> OnEvent:
    """A listener that stops the stage at an event, counted from 0."""

    def listen(event: Event) -> None:
        nonlocal left
        left -= 1
        if left < 0 and not isinstance(event, StageFinished):
            raise StopError

    return listen


def try_full_disk(runs: Runs, number: int) -> str:
    """Let the disk be full at one of a stage's writes, and go on once there is room.

    Args:
        runs: What to begin at.
        number: Number of the case; the stages take turns.

    Returns:
        "the same bytes", or "done, no write failed".

    Raises:
        WrongError: If a file differs, is missing or left over.
    """
    stage = STAGE_NAMES[number % len(STAGE_NAMES)]
    begin(runs, stage)
    is_done = runs.forker.call(crowded_stage, stage, runs.place, number // len(STAGE_NAMES))
    came = same(runs, stage)
    return "done, no write failed" if is_done else came


def crowded_stage(stage: str, root: Path, write: int | None) -> bool:
    """Do a stage that may run out of room.

    Args:
        write: From which write on there is none; None for where the disk itself has none.

    Returns:
        Whether it was done.
    """
    try:
        with mock.patch.object(preflight, "ROOM_GIB", 0.0), _full_at(write):
            run_stage(stage, RunDir(root), redo=False)
    except VeneerError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def try_small_disk(runs: Runs, number: int) -> str:
    """Do a stage on a file system that is too small for it, and go on once there is room.

    Args:
        runs: What to begin at.
        number: Number of the case; the stages take turns, and the sizes from nothing to more than enough.

    Returns:
        "the same bytes", or that no file system could be mounted.

    Raises:
        WrongError: If a file differs, is missing or left over.
    """
    stage = STAGE_NAMES[number % len(STAGE_NAMES)]
    share = (number // len(STAGE_NAMES)) / (SIZES - 1)
    with _own_disk(runs.place) as is_mounted:
        if not is_mounted:
            return "not tried, mounting is not allowed"
        shutil.copytree(runs.before[stage], runs.place, dirs_exist_ok=True)
        filler = runs.place / ".filler"
        with filler.open("wb") as file:
            os.posix_fallocate(
                file.fileno(), 0, max(1, _free(runs.place) - int(share * 1.2 * runs.bytes[stage]))
            )
        runs.forker.call(crowded_stage, stage, runs.place, None)
        filler.unlink()
        return same(runs, stage)


@contextmanager
def _own_disk(place: Path) -> Iterator[bool]:
    """A file system of its own in the place of a folder; False where mounting is not allowed."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    is_mounted = (
        shutil.which("mount") and not subprocess.run(command, capture_output=True, check=False).returncode
    )
    try:
        yield bool(is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free


def _size(root: Path) -> int:
    """Bytes that a folder takes on a tmpfs."""
    return sum(4096 + -(-path.lstat().st_size // 4096) * 4096 for path in root.rglob("*"))


def begin(runs: Runs, stage: str) -> None:
    """Lay the run of a case down as it is before a stage."""
    shutil.rmtree(runs.place, ignore_errors=True)
    shutil.copytree(runs.before[stage], runs.place)


def same(runs: Runs, stage: str) -> str:
    """Give the same command again, and compare the whole folder.

    Returns:
        "the same bytes".

    Raises:
        WrongError: If a file differs, is missing or left over.
    """
    try:
        runs.forker.call(roomy_stage, stage, runs.place)
    except VeneerError as error:
        raise WrongError(f"{stage}: the same command is refused: {error}") from error
    found, wanted = hashes(runs.place), runs.after[stage]
    odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if odd:
        raise WrongError(f"{stage}: {len(odd)} files are not the same: {', '.join(odd[:5])}")
    return "the same bytes"


@contextmanager
def _full_at(write: int | None) -> Iterator[None]:
    """No space left from a write on, counted by what is flushed to the disk; None for the disk as it is."""
    real, count = os.fsync, 0

    def fsync(number: int) -> None:
        nonlocal count
        count += 1
        if write is not None and count > write:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    with mock.patch.object(os, "fsync", fsync):
        yield


SLICES = (
    Slice("stops", "a stage stopped at one of its events", 9 * STOPS, (33,), whole_runs, try_stop, 300.0),
    Slice(
        "full-disk", "no space left at one of a stage's writes", 90, (11,), whole_runs, try_full_disk, 300.0
    ),
    Slice(
        "small-disk",
        "a file system of every size that is too small",
        9 * SIZES,
        (30,),
        whole_runs,
        try_small_disk,
        300.0,
    ),
)
