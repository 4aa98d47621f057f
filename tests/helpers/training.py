"""Runs for the tests of training: a tiny base, a dozen pictures of two shapes, encoded once and copied."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from helpers import tiny
from veneer.config import Recipe
from veneer.events import Event
from veneer.recipe import resolve
from veneer.records.dataset import Dataset, Item
from veneer.records.run import RunDir
from veneer.stages.encode import encode
from veneer.stages.train import TrainResult, train

PICTURES = 12
TRAIN = {
    "max_train_steps": 6,
    "train_batch_size": 2,
    "learning_rate": 1e-3,
    "validation_steps": 3,
    "checkpointing_steps": 3,
}


def recipe_for(base: Path, **tables: dict[str, Any]) -> Recipe:
    """A recipe on the tiny base; tables given are laid over quick settings."""
    train_table = TRAIN | tables.pop("train", {})
    encode_table = {"resolution": 32} | tables.pop("encode", {})
    return resolve({"base": {"model": str(base)}, "encode": encode_table, "train": train_table, **tables})


def write_dataset(run: RunDir, count: int = PICTURES) -> None:
    """Captioned pictures, every other one wide."""
    tiny.tiny_pictures(run.dataset / "images", count)
    for number, path in enumerate(sorted((run.dataset / "images").glob("*.png"))):
        if number % 2:
            Image.open(path).crop((0, 8, 64, 48)).save(path)
    dataset = Dataset(run.dataset)
    names = dataset.picture_names()
    dataset.write_metadata([Item(name, f"a picture {i} of the city") for i, name in enumerate(names)])


def encoded_run(root: Path, recipe: Recipe) -> RunDir:
    """A run that is ready to train."""
    run = RunDir(root)
    write_dataset(run)
    run.write_recipe(recipe)
    encode(run, recipe)
    return run


def copy_run(run: RunDir, to: Path) -> RunDir:
    """The same run elsewhere."""
    return RunDir(Path(shutil.copytree(run.root, to)))


def train_quietly(run: RunDir, recipe: Recipe) -> tuple[TrainResult, list[Event]]:
    """Train, and collect the events."""
    events: list[Event] = []
    return train(run, recipe, events.append), events


def train_child(root: str, recipe: Recipe) -> None:
    """Train in a process of its own, to be killed."""
    train(RunDir(Path(root)), recipe)


def weights_hashes(run: RunDir) -> dict[str, str]:
    """Hash of every file of weights that training left."""
    files = sorted(run.train.rglob("*.safetensors"))
    return {f.relative_to(run.root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def log_lines(run: RunDir) -> list[dict[str, Any]]:
    """The training log."""
    return [json.loads(line) for line in run.log_jsonl.read_text("utf-8").splitlines()]
