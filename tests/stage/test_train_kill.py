"""A training killed with SIGKILL at any moment and started again ends with the bytes of one never killed."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest

from training import copy_run, encoded_run, log_lines, recipe_for, train_child, train_quietly, weights_hashes
from veneer.config import Recipe
from veneer.rundir import RunDir

STEPS = 16


@pytest.fixture(scope="module")
def recipe(base_folder: Path) -> Recipe:
    train = {
        "max_train_steps": STEPS,
        "gradient_accumulation_steps": 2,
        "ema_decay": 0.9,
        "checkpointing_steps": 3,
        "validation_steps": 4,
        "checkpoints_total_limit": 2,
        "average_last": 2,
    }
    return recipe_for(base_folder, encode={"buckets": True, "variants": 2}, train=train)


@pytest.fixture(scope="module")
def never_killed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = encoded_run(tmp_path_factory.mktemp("whole") / "run", recipe)
    copy_run(run, run.root.parent / "fresh")
    train_quietly(run, recipe)
    return run


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.heavy)])
def test_killed_at_any_moment_ends_with_the_same_bytes(
    never_killed: RunDir, recipe: Recipe, tmp_path: Path, kills: int
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["veneer.stages.train", "training"])
    seed = random.Random(kills)
    run = copy_run(RunDir(never_killed.root.parent / "fresh"), tmp_path / "run")
    for kill in range(kills):
        child = context.Process(target=train_child, args=(str(run.root), recipe))
        child.start()
        wait_for_step(run, seed.randrange(1, STEPS) if kills < 10 else kill * STEPS // kills)
        time.sleep(seed.random() * 0.4)
        child.kill()
        child.join()
    train_quietly(run, recipe)
    assert weights_hashes(run) == weights_hashes(never_killed)
    assert [line["loss"] for line in log_lines(run)] == [line["loss"] for line in log_lines(never_killed)]
    assert run.candidates_json.read_bytes() == never_killed.candidates_json.read_bytes()


def wait_for_step(run: RunDir, step: int) -> None:
    """Until the log has the step, or for a while."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        lines = run.log_jsonl.read_bytes().count(b"\n") if run.log_jsonl.is_file() else 0
        if lines >= step or run.candidates_json.is_file():
            return
        time.sleep(0.02)
