"""Two processes give the losses of one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.proofrun import make_run, proof_recipe
from helpers.tape import Recorder
from helpers.training import (
    copy_run,
    encoded_run,
    log_lines,
    recipe_for,
    train_child,
    train_quietly,
    write_dataset,
)
from helpers.twoprocesses import in_two_processes
from veneer.captions import captioning as captionwork
from veneer.config import CaptionTable, Recipe
from veneer.encoding import planning
from veneer.records.cache import read_index
from veneer.records.run import RunDir
from veneer.stages import generate as generating
from veneer.stages.caption import caption
from veneer.stages.collect import collect
from veneer.stages.encode import encode
from veneer.stages.generate import generate
from veneer.training.step import recorded


def late(module: Any, name: str) -> None:
    """Let the second process come to its work when the first has had time to do its own."""
    usual = getattr(module, name)

    def slow(*args: Any, **more: Any) -> Any:
        time.sleep(2)
        return usual(*args, **more)

    if os.environ["RANK"] == "1":
        setattr(module, name, slow)


def generate_child(root: str, recipe: Recipe) -> None:
    late(generating, "_load_first_word")
    generate(RunDir(Path(root)), recipe)


def encode_child(root: str, recipe: Recipe) -> None:
    late(planning, "read_pictures")
    encode(RunDir(Path(root)), recipe)


def caption_child(root: str, table: CaptionTable) -> None:
    late(captionwork, "read_unfinished")
    caption(RunDir(Path(root)).dataset, table)


def played_child(root: str, recipe: Recipe) -> None:
    """Train by recordings."""
    recorded.recorder_for = lambda device: Recorder()
    train_child(root, recipe)


@pytest.mark.parametrize(
    ("batch", "child"),
    [
        ((2, 1), train_child),
        pytest.param((1, 2), train_child, marks=pytest.mark.heavy),
        pytest.param((3, 1), train_child, marks=pytest.mark.heavy),
        ((3, 1), played_child),
    ],
)
def test_two_processes_train_what_one_trains(
    base_folder: Path, tmp_path: Path, batch: tuple[int, int], child: Callable[..., None]
) -> None:
    train = {"train_batch_size": batch[0], "gradient_accumulation_steps": batch[1], "max_train_steps": 5}
    recipe = recipe_for(base_folder, encode={"buckets": True}, train=train)
    one = encoded_run(tmp_path / "one", recipe)
    two = copy_run(one, tmp_path / "two")
    train_quietly(one, recipe)
    in_two_processes(child, two, recipe)
    for key in ("loss", "grad_norm", "grad_norm_clipped"):
        expected = [line[key] for line in log_lines(one)]
        assert [line[key] for line in log_lines(two)] == pytest.approx(expected, rel=1e-5)


def test_two_processes_encode_what_one_encodes(base_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(base_folder)
    one = encoded_run(tmp_path / "one", recipe)
    two = RunDir(tmp_path / "two")
    write_dataset(two)
    in_two_processes(encode_child, two, recipe)
    assert read_index(two) == read_index(one)
    for file in one.cache.rglob("*.safetensors"):
        assert (two.cache / file.relative_to(one.cache)).read_bytes() == file.read_bytes()


def test_two_processes_write_the_captions_of_one(
    blip_folder: Path, picture_folder: Path, tmp_path: Path
) -> None:
    table = CaptionTable(model=str(blip_folder))
    one, two = (RunDir(tmp_path / name) for name in ("one", "two"))
    for run in (one, two):
        collect([str(picture_folder)], run.dataset)
    result = caption(one.dataset, table)
    assert result.asked_again, "the second round is to be shared too"
    in_two_processes(caption_child, two, table)
    for name in ("metadata.csv", "captions.jsonl"):
        assert (two.dataset / name).read_text() == (one.dataset / name).read_text()


def test_two_processes_draw_what_one_draws(
    base_folder: Path, clip_folder: Path, picture_folder: Path, tmp_path: Path
) -> None:
    few = {"held_out_prompts": 1, "general_prompts": []}
    recipe = proof_recipe(base_folder, clip_folder, generate={"seeds": [0, 1]}, compare=few)
    one = make_run(tmp_path / "one", base_folder, picture_folder)
    two = copy_run(one, tmp_path / "two")
    generate(one, recipe)
    in_two_processes(generate_child, two, recipe)
    pictures = sorted(one.samples.rglob("*.png"))
    assert len(pictures) == 16
    for path in pictures:
        same = two.samples / path.relative_to(one.samples)
        mine, theirs = (np.asarray(Image.open(p), int) for p in (path, same))
        assert np.abs(mine - theirs).max() <= 1
