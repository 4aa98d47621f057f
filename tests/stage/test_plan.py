"""The plan of a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import encoded_run, recipe_for, train_quietly, write_dataset
from veneer.errors import DatasetError
from veneer.lora.adapter import attach, trainable
from veneer.models.base import load_base
from veneer.rundir import RunDir
from veneer.training.checkpoints import saved_steps
from veneer.training.plan import plan


def test_the_plan_tells_what_then_happens(base_folder: Path, tmp_path: Path) -> None:
    train = {
        "max_train_steps": 7,
        "checkpointing_steps": 2,
        "checkpoints_total_limit": 3,
        "train_batch_size": 4,
    }
    recipe = recipe_for(base_folder, train=train)
    run = encoded_run(tmp_path, recipe)
    planned = plan(run, recipe)
    train_quietly(run, recipe)
    assert (planned.steps, planned.pictures, planned.held_out) == (7, 8, 4)
    assert (planned.pictures_seen, planned.epochs) == (28, 3.5)
    assert planned.checkpoints == len(saved_steps(run.checkpoints)) == 3
    unet = load_base(str(base_folder), parts=("unet",)).unet
    attach(unet, recipe.lora, seed=0)
    assert planned.trained_parameters == sum(p.numel() for p in trainable(unet).values())
    on_disk = sum(f.stat().st_size for f in run.checkpoints.rglob("*.safetensors")) / 2**30
    assert planned.disk_gib == pytest.approx(on_disk, abs=1e-3)
    assert 0 < planned.seconds_per_step < 10


def test_it_needs_pictures_but_no_cache(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(DatasetError):
        plan(run, recipe_for(base_folder))
    write_dataset(run)
    assert plan(run, recipe_for(base_folder)).pictures == 8


def test_memory_falls_with_precision_and_checkpointing(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    big = {"train_batch_size": 512}
    full, half, thrifty = (
        plan(run, recipe_for(base_folder, train=big | extra)).memory_gib
        for extra in ({}, {"mixed_precision": "bf16"}, {"gradient_checkpointing": True})
    )
    assert full > half > 0
    assert full > thrifty > 0
