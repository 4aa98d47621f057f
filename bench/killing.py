"""A training process killed again and again, and what must be the same in the end."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.records.run import RunDir
from veneer.stages.train import train

PATIENCE_SECONDS = 120.0
SPREAD_SECONDS = 0.4


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        step: Steps in the log when it came.
        found: What the process was at: "starting", "writing a checkpoint", "training" or "done".
    """

    step: int
    found: str


def train_child(root: str, recipe: Recipe) -> None:
    """Train in a process of its own, to be killed."""
    train(RunDir(Path(root)), recipe)


def kill_often(run: RunDir, recipe: Recipe, kills: int, seed: int = 0) -> list[Kill]:
    """Start the training again and again, and kill it at random moments spread over the run.

    Args:
        kills: How often.

    Returns:
        What each kill fell into.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["veneer.stages.train", "bench.killing"])
    moments = random.Random(seed)
    killed = []
    for number in range(kills):
        child = context.Process(target=train_child, args=(str(run.root), recipe))
        child.start()
        is_early = moments.random() < 0.1
        if not is_early:
            _wait_for_step(run, number * recipe.train.max_train_steps // kills, child)
        time.sleep(moments.random() * SPREAD_SECONDS)
        child.kill()
        child.join()
        killed.append(Kill(_logged(run), "starting" if is_early else _found(run)))
    return killed


def bytes_of(run: RunDir) -> dict[str, str]:
    """What a training leaves that must not differ: weights, candidates and losses.

    Returns:
        Hashes by file, and the losses under the log's name.
    """
    files = [*sorted(run.train.rglob("*.safetensors")), *sorted(run.lora.rglob("*.safetensors"))]
    names = [*files, run.candidates_json]
    found = {p.relative_to(run.root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in names}
    lines = [json.loads(line) for line in run.log_jsonl.read_text("utf-8").splitlines()]
    return {**found, "losses": str([(line["step"], line["loss"], line["grad_norm"]) for line in lines])}


def _wait_for_step(run: RunDir, step: int, child: Any) -> None:
    """Until the log has the step, the child ended, or for a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and child.is_alive():
        if run.log_jsonl.is_file() and _logged(run) >= max(1, step):
            return
        time.sleep(0.01)


def _logged(run: RunDir) -> int:
    return run.log_jsonl.read_bytes().count(b"\n") if run.log_jsonl.is_file() else 0


def _found(run: RunDir) -> str:
    if list(run.train.rglob("*partial")):
        return "writing a checkpoint"
    return "done" if run.candidates_json.is_file() else "training"
