"""A training killed with SIGKILL at random moments, held to the byte against one that was never killed.

    python -m bench.bench_kill [--kills 200] [--steps 40] [--work FOLDER]

The bundled base on bundled pictures, with buckets, crop variants, gradient accumulation, a moving average
and a mean of checkpoints. Kills are spread over the whole run: each waits for a step of its own and then a
random part of a second, so that they fall into steps, validations, checkpoints and starts. Writes
``bench/results/kill_HARDWARE_DATE.{json,md}`` and ends with status 1 where a byte differs.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import multiprocessing
import random
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.pipeline import run_stage
from veneer.recipe import resolve
from veneer.rundir import RunDir, write_json, write_text
from veneer.stages.export import export
from veneer.stages.train import train
from veneer.versions import hardware, versions

RESULTS = Path(__file__).parent / "results"
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
    """Train in a process of its own, to be killed.

    Args:
        root: The run folder.
        recipe: Its recipe.
    """
    train(RunDir(Path(root)), recipe)


def kill_often(run: RunDir, recipe: Recipe, kills: int, seed: int = 0) -> list[Kill]:
    """Start the training again and again, and kill it at random moments spread over the run.

    Args:
        run: The run folder, encoded.
        recipe: Its recipe.
        kills: How often.
        seed: Seed of the moments.

    Returns:
        What each kill fell into.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["veneer.stages.train", "bench.bench_kill"])
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

    Args:
        run: The run folder.

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
    if list(run.train.rglob("*.partial")):
        return "writing a checkpoint"
    return "done" if run.candidates_json.is_file() else "training"


def bench_recipe(steps: int) -> Recipe:
    """Everything on that has a state of its own.

    Args:
        steps: Optimizer steps.

    Returns:
        The recipe.
    """
    return resolve(
        {
            "base": {"model": "pocket"},
            "collect": {"sources": ["pocket"], "limit": 16},
            "caption": {"model": "none"},
            "encode": {"resolution": 64, "buckets": True, "variants": 2},
            "train": {
                "max_train_steps": steps,
                "train_batch_size": 2,
                "gradient_accumulation_steps": 2,
                "learning_rate": 1e-3,
                "ema_decay": 0.9,
                "average_last": 2,
                "checkpointing_steps": 3,
                "checkpoints_total_limit": 2,
                "validation_steps": 5,
            },
        }
    )


def _document(record: dict[str, Any]) -> str:
    machine = record["hardware"]
    rows = [f"| {found} | {count} |" for found, count in sorted(record["found"].items())]
    return "\n".join(
        [
            "# A training killed at random moments",
            "",
            f"{record['date']}, {machine['processor']}, {machine['cores']} cores; torch "
            f"{record['versions']['torch']}. Command: `{record['command']}`.",
            "",
            f"**{record['verdict']}** {record['steps']} steps, {record['kills']} kills, {record['files']} "
            f"files compared; {record['seconds']} s.",
            "",
            "| the kill fell into | kills |",
            "|---|---:|",
            *rows,
            "",
        ]
    )


def main() -> int:
    """Kill, compare, and write the document.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("runs/kill"))
    asked = parser.parse_args()
    recipe, began = bench_recipe(asked.steps), time.monotonic()
    shutil.rmtree(asked.work, ignore_errors=True)
    whole, killed = RunDir(asked.work / "whole" / "run"), RunDir(asked.work / "killed" / "run")
    whole.root.mkdir(parents=True)
    whole.write_recipe(recipe)
    for stage in ("collect", "check", "caption", "encode"):
        run_stage(stage, whole, redo=False)
    shutil.copytree(whole.root, killed.root)
    train(whole, recipe)
    kills = kill_often(killed, recipe, asked.kills)
    train(killed, recipe)
    for run in (whole, killed):
        export(run, recipe)
    expected, found = bytes_of(whole), bytes_of(killed)
    odd = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    date, machine = datetime.datetime.now(datetime.UTC).date().isoformat(), hardware()
    record = {
        "date": date,
        "command": shlex.join(["python", "-m", "bench.bench_kill", *sys.argv[1:]]),
        "hardware": machine,
        "versions": versions(),
        "steps": asked.steps,
        "kills": len(kills),
        "found": dict(Counter(kill.found for kill in kills)),
        "files": len(expected) - 1,
        "odd": odd,
        "verdict": f"{len(odd)} differ: {', '.join(odd[:5])}." if odd else "Every byte is the same.",
        "seconds": round(time.monotonic() - began),
    }
    text = _document(record)
    print(text)
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']}-{machine['cores']}-cores".lower()).strip("-")
    write_json(RESULTS / f"kill_{name}_{date}.json", record)
    write_text(RESULTS / f"kill_{name}_{date}.md", text)
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
