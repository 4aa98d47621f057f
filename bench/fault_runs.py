"""Runs killed at any moment of any stage, or whose disk is full: the same command ends with the same bytes.

The whole folder is compared, times left out. Each case begins at a copy of the run as it is before the stage.
"""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from unittest import mock

from bench.faults import Slice, WrongError
from helpers import tiny
from veneer.config import Recipe
from veneer.errors import VeneerError
from veneer.events import Event, OnEvent, StageFinished
from veneer.pipeline import run_stage
from veneer.recipe import resolve
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES

TIMES = re.compile(
    rb'"(seconds|images_per_second|peak_memory_gib|peak_device_memory_gib|started|finished|time|retrieved|at)":'
    rb' ?("[^"]*"|[0-9.e+-]+)'
)
UNCOMPARED = ("dataset/.measures.jsonl", ".lock", "report/index.html", "report/report.md", "checksums.json")
"""Files that tell times in their own words, and the sums of such."""
STOPS = 12
"""At how many of a stage's events it is stopped."""
SIZES = 12
"""Sizes of a disk that is too small for a stage, from nothing to a fifth more than it writes."""
LATEST = 1.15
"""Latest moment of a kill, as a share of the stage's time."""


@dataclass(frozen=True)
class Runs:
    """What all cases begin at.

    Attributes:
        before: The run as it is before each stage.
        after: Hashes of its files after each stage.
        seconds: What each stage takes.
        events: How many things each stage tells of before it is done.
        bytes: What each stage writes.
        place: Where the run of a case lies.
        context: Makes processes to be killed.
    """

    before: Mapping[str, Path]
    after: Mapping[str, Mapping[str, str]]
    seconds: Mapping[str, float]
    events: Mapping[str, int]
    bytes: Mapping[str, int]
    place: Path
    context: BaseContext


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
    base, clip = tiny.tiny_base(folder / "base"), tiny.tiny_clip(folder / "clip")
    pictures = bench_pictures(folder / "pictures")
    run = RunDir(folder / "run")
    run.root.mkdir(parents=True)
    run.write_recipe(bench_recipe(base, clip, pictures))
    before, after, seconds, events, sizes = {}, {}, {}, Counter[str](), {}

    def count(event: Event) -> None:
        events[stage] += not isinstance(event, StageFinished)

    for stage in STAGE_NAMES:
        before[stage] = Path(shutil.copytree(run.root, folder / "before" / stage))
        began = time.monotonic()
        run_stage(stage, run, redo=False, on_event=count)
        seconds[stage] = time.monotonic() - began
        after[stage] = hashes(run.root)
        sizes[stage] = _size(run.root) - _size(before[stage])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.fault_runs", *(f"veneer.stages.{stage}" for stage in STAGE_NAMES)])
    return Runs(before, after, seconds, events, sizes, run.root, context)


def hashes(root: Path) -> dict[str, str]:
    """Every file of a run by its bytes, times left out.

    Returns:
        Hashes by name.
    """
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    named = {path.relative_to(root).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(TIMES.sub(rb'"\1": 0', path.read_bytes())).hexdigest()
        for name, path in named.items()
        if name not in UNCOMPARED
    }


def stage_child(stage: str, root: str) -> None:
    """Do a stage in a process of its own, to be killed."""
    run_stage(stage, RunDir(Path(root)), redo=False)


def try_kill(runs: Runs, number: int) -> str:
    """Kill a stage at a random moment, often more than once, and go on.

    Args:
        runs: What to begin at.
        number: Number of the case; the stages take turns.

    Returns:
        "the same bytes".

    Raises:
        WrongError: If a file differs, is missing or left over.
    """
    chance, stage = random.Random(number), STAGE_NAMES[number % len(STAGE_NAMES)]
    _begin(runs, stage)
    for _ in range(chance.choice([1, 1, 2, 3])):
        child = runs.context.Process(target=stage_child, args=(stage, str(runs.place)))  # type: ignore[attr-defined]
        child.start()
        child.join(chance.random() * LATEST * runs.seconds[stage])
        child.kill()
        child.join()
    return _same(runs, stage)


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
    _begin(runs, stage)
    for _ in range(1 + turn // count):
        with suppress(StopError):
            run_stage(
                stage,
                RunDir(runs.place),
                redo=False,
                on_event=_stop_at(turn * max(1, count // STOPS) % count),
            )
    return _same(runs, stage)


def _stop_at(left: int) -> OnEvent:
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
    _begin(runs, stage)
    try:
        with _full_at(number // len(STAGE_NAMES)):
            run_stage(stage, RunDir(runs.place), redo=False)
    except VeneerError:
        return _same(runs, stage)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _same(runs, stage)
    return "done, no write failed"


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
        try:
            run_stage(stage, RunDir(runs.place), redo=False)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        except VeneerError:
            pass
        filler.unlink()
        return _same(runs, stage)


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


def _begin(runs: Runs, stage: str) -> None:
    shutil.rmtree(runs.place, ignore_errors=True)
    shutil.copytree(runs.before[stage], runs.place)


def _same(runs: Runs, stage: str) -> str:
    run_stage(stage, RunDir(runs.place), redo=False)
    found, wanted = hashes(runs.place), runs.after[stage]
    odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if odd:
        raise WrongError(f"{stage}: {len(odd)} files are not the same: {', '.join(odd[:5])}")
    return "the same bytes"


@contextmanager
def _full_at(write: int) -> Iterator[None]:
    """No space left from a write on, counted by what is flushed to the disk."""
    real, count = os.fsync, 0

    def fsync(number: int) -> None:
        nonlocal count
        count += 1
        if count > write:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    with mock.patch.object(os, "fsync", fsync):
        yield


SLICES = (
    Slice(
        "stops", "a stage stopped at one of its events", 9 * STOPS, (27, 33, 39), whole_runs, try_stop, 300.0
    ),
    Slice("kills", "a stage killed at random moments", 200, (3,), whole_runs, try_kill, 300.0),
    Slice(
        "full-disk", "no space left at one of a stage's writes", 90, (13,), whole_runs, try_full_disk, 300.0
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
