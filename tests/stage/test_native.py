"""Pictures larger than the base was trained for: compared at the base's own size too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.proofrun import make_run, proof_recipe
from veneer.config import Recipe
from veneer.lora.drawing import draw
from veneer.records.run import RunDir
from veneer.stages.compare import compare
from veneer.stages.generate import generate
from veneer.stages.report import report

FEW: dict[str, Any] = {"prompts": ["picture of a dog", "picture of the city"], "seeds": [0, 1]}


def small_recipe(base: Path, clip: Path, side_px: int) -> Recipe:
    few = {"held_out_prompts": 1, "general_prompts": ["a cup"]}
    return proof_recipe(base, clip, encode={"resolution": side_px}, generate=FEW, compare=few)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


def test_a_resolution_above_the_base_is_compared_at_the_bases_own_too(
    base_folder: Path, clip_folder: Path, picture_folder: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", base_folder, picture_folder)
    recipe = small_recipe(base_folder, clip_folder, 64)
    run.write_recipe(recipe)
    result = generate(run, recipe)
    names = sorted(path.name for path in (run.samples / "tuned").glob("*.png"))
    assert sorted(path.name for path in (run.native_samples / "tuned").glob("*.png")) == names
    assert result.num_pictures == result.num_drawn == 4 * len(names)
    assert Image.open(run.samples / "tuned" / names[0]).size == (64, 64)
    assert Image.open(run.native_samples / "tuned" / names[0]).size == (32, 32)
    table = recipe.generate.model_copy(update={"resolution": 32})
    for side, lora in (("base", None), ("tuned", run.lora_file)):
        drawn = draw(str(base_folder), [FEW["prompts"][0]], [0], lora=lora, generate=table)[0]
        assert np.abs(pixels(run.native_samples / side / "000-0.png") - np.asarray(drawn, int)).max() <= 1
    assert generate(run, recipe).num_drawn == 0

    compare(run, recipe)
    metrics = json.loads(run.metrics_json.read_text("utf-8"))
    assert metrics["at_native"]["side_px"] == 32
    assert "validation_loss" not in metrics["at_native"]["measures"]
    assert metrics["at_native"]["measures"]["style"] != metrics["measures"]["style"]
    report(run, recipe)
    for name in ("index.html", "report.md"):
        assert "own resolution" in (run.report / name).read_text("utf-8")

    _within_the_bases_size(run, base_folder, clip_folder)


def _within_the_bases_size(run: RunDir, base_folder: Path, clip_folder: Path) -> None:
    recipe = small_recipe(base_folder, clip_folder, 32)
    generate(run, recipe)
    assert not run.native_samples.exists()
    compare(run, recipe)
    assert json.loads(run.metrics_json.read_text("utf-8"))["at_native"] is None
