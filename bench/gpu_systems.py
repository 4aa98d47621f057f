"""The tasks of the bench on a GPU, one after the other in one process: each has the card for itself.

Three processes at a time, as on the CPU, would hold three copies of everything, and the card's memory with
them. One process imports once, and all cases share one base.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

from bench.gpu_cases import Task
from bench.sd15_smoke import draw_pictures
from bench.speed_systems import Case, Turn, plain, recipe_of, train_system
from veneer import machine
from veneer.config import GenerateTable
from veneer.events import Event, Progress
from veneer.models.base import encode_pixels, load_base
from veneer.records.dataset import Dataset, Item
from veneer.records.run import RunDir
from veneer.stages.encode import encode, vae_dtype

PICTURES = 16
ENCODED = {512: 96, 64: 512}
"""Pictures that encoding is timed on, by their side."""
DRAWN_BATCHES = 3
VAE_REPEATS = 5


class OutOfTimeError(Exception):
    """The time for the bench is used up."""


class Turns:
    """Stands for the pipe of a system's process: keeps what the system says, and ends it when time is up.

    Args:
        deadline: Moment of `time.monotonic` to stop at.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self.said: list[Turn] = []

    def send(self, turn: Turn) -> None:
        """Keep a turn.

        Raises:
            OutOfTimeError: If it is too late for another.
        """
        self.said.append(turn)
        if time.monotonic() > self._deadline:
            raise OutOfTimeError

    def recv(self) -> None:
        """Let the system go on at once."""


def train_task(task: Task, work: Path, deadline: float) -> dict[str, Any]:
    """Train one system.

    Args:
        work: Folder for what it writes.
        deadline: Moment of `time.monotonic` to stop at.

    Returns:
        Its turns, as plain data, the seconds of the first, and memory in GiB.

    Raises:
        OutOfTimeError: If not even two turns were possible.
    """
    prepare(task.case)
    machine.hand_back_memory()
    held, turns = _memory_gib(torch.cuda.memory_allocated), Turns(deadline)
    AcceleratorState._reset_state()  # each system says anew in which precision accelerate casts
    try:
        train_system(task.system, task.case, work / "out", turns)
    except OutOfTimeError:
        if len(turns.said) < 2:
            raise
    return {
        "seconds_to_first_turn": turns.said[0].seconds * task.case.turn,
        "turns": [plain(turn) for turn in turns.said],
        "reserved_gib": _memory_gib(torch.cuda.max_memory_reserved),
        "held_before_gib": held,
    }


def encode_task(case: Case) -> dict[str, Any]:
    """Time the stage `encode`.

    Args:
        case: Base and size.

    Returns:
        Pictures, seconds of all, and pictures a second between the first batch and the last: of the stage,
        and of the VAE alone on a batch that is there.
    """
    count = ENCODED.get(case.resolution, PICTURES)
    case = replace(case, run=f"{case.run}-encode")
    run, moments = _write_dataset(case, count), []

    def on_event(event: Event) -> None:
        if isinstance(event, Progress):
            moments.append((event.done, time.perf_counter()))

    start = time.perf_counter()
    encode(run, recipe_of(case), on_event)
    seconds = time.perf_counter() - start
    (first, since), (last, until) = moments[0], moments[-1]
    rate = (last - first) / (until - since) if last > first else count / seconds
    return {
        "title": case.title,
        "pictures": count,
        "seconds": seconds,
        "pictures_per_second": rate,
        "vae_pictures_per_second": _vae_rate(case),
        "batch_seconds": [round(b - a, 4) for (_, a), (_, b) in pairwise(moments)],
    }


@torch.inference_mode()
def _vae_rate(case: Case) -> float:
    device = machine.pick_device()
    dtype = vae_dtype(load_base(case.base, parts=()), device)
    vae = load_base(case.base, parts=("vae",), dtype=dtype, device=device).vae
    if device.type == "cuda":
        vae.to(memory_format=torch.channels_last)
    count = 8 if device.type == "cuda" else 1
    pixels = torch.zeros(count, 3, case.resolution, case.resolution, device=device)
    for repeat in range(2 + VAE_REPEATS):
        if repeat == 2:
            start = time.perf_counter()
        mean, _ = encode_pixels(vae, pixels)
        mean.float().cpu()
    return count * VAE_REPEATS / (time.perf_counter() - start)


def generate_task(case: Case) -> dict[str, Any]:
    """Time the drawing of pictures, 25 steps each, after a batch to warm up.

    Args:
        case: Base and size.

    Returns:
        Pictures, seconds, pictures drawn together, and how many are no finite numbers.
    """
    from veneer.models.sampling import load_sampler, sample

    table = GenerateTable(num_inference_steps=25 if torch.cuda.is_available() else 1)
    start = time.perf_counter()
    sampler = load_sampler(case.base, table, side_px=case.resolution)
    size = sampler.batch_size
    jobs = [("a red disc on a blue ground", seed) for seed in range(size * DRAWN_BATCHES)]
    list(sample(sampler, jobs[:size]))
    ready = time.perf_counter()
    drawn = list(sample(sampler, jobs))
    seconds = time.perf_counter() - ready
    return {
        "title": f"{case.name}, {case.resolution} px, {table.num_inference_steps} steps",
        "pictures": len(drawn),
        "seconds": seconds,
        "seconds_to_first": ready - start,
        "together": size,
        "broken": sum(one.is_broken for one in drawn),
        "pictures_per_second": len(drawn) / seconds,
    }


def prepare(case: Case) -> None:
    """Draw the pictures of a case and encode them, once for all cases of a run folder."""
    run = RunDir(Path(case.run))
    if not run.cache_index.is_file():
        recipe = recipe_of(case)
        _write_dataset(case, PICTURES).write_recipe(recipe)
        encode(run, recipe)


def _write_dataset(case: Case, count: int) -> RunDir:
    run = RunDir(Path(case.run))
    shutil.rmtree(run.root, ignore_errors=True)
    draw_pictures(run.dataset / "images", count, case.resolution)
    dataset = Dataset(run.dataset)
    names = dataset.picture_names()
    dataset.write_metadata(
        [Item(name, (run.dataset / name).with_suffix(".txt").read_text()) for name in names]
    )
    return run


def _memory_gib(ask: Any) -> float:
    return float(ask()) / 2**30 if torch.cuda.is_available() else 0.0
