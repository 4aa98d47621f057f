"""A training killed with SIGKILL at any moment and started again ends with the bytes of one never killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.killing import bytes_of, kill_often
from helpers.training import copy_run, encoded_run, recipe_for, train_quietly
from veneer.config import Recipe
from veneer.records.run import RunDir

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
    run = copy_run(RunDir(never_killed.root.parent / "fresh"), tmp_path / "run")
    kill_often(run, recipe, kills, seed=kills)
    train_quietly(run, recipe)
    assert bytes_of(run) == bytes_of(never_killed)
