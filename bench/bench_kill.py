"""A training killed with SIGKILL at random moments, held to the byte against one that was never killed.

    python -m bench.bench_kill [--kills 200] [--steps 40] [--work FOLDER]

The bundled base on bundled pictures, with buckets, crop variants, gradient accumulation, a moving average
and a mean of checkpoints. Kills are spread over the whole run: each waits for a step of its own and then a
random part of a second, so that they fall into steps, validations, checkpoints and starts. Writes
``bench/results/kill_HARDWARE_DATE.{json,md}`` and ends with status 1 where a byte differs.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.killing import bytes_of, kill_often
from bench.machine import heading, setting, write_results
from veneer.config import Recipe
from veneer.pipeline import run_stage
from veneer.recipe import resolve
from veneer.records.run import RunDir
from veneer.stages.export import export
from veneer.stages.train import train


def bench_recipe(steps: int) -> Recipe:
    """Everything on that has a state of its own."""
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
    rows = [f"| {found} | {count} |" for found, count in sorted(record["found"].items())]
    return "\n".join(
        [
            *heading("A training killed at random moments", record),
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
    record = setting(shlex.join(["python", "-m", "bench.bench_kill", *sys.argv[1:]])) | {
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
    write_results("kill", record, text)
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
