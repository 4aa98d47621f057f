"""The seeded losses of a training on the tiny base: a change of numbers is a decision, not an accident.

Where it is one: delete the entry from losses.json, run this test once, and say in the commit why they moved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.training import encoded_run, log_lines, recipe_for, train_quietly

FILE = Path(__file__).with_name("losses.json")
RECIPES: dict[str, dict[str, Any]] = {
    "report": {"train": {"max_train_steps": 6}},
    "style": {
        "encode": {"buckets": True, "variants": 2},
        "lora": {"rank": 8, "target_modules": "attention+ff"},
        "train": {"max_train_steps": 6, "loss_weighting": "min_snr", "noise_offset": 0.05, "ema_decay": 0.9},
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_the_golden_ones(base_folder: Path, tmp_path: Path, name: str) -> None:
    recipe = recipe_for(base_folder, **RECIPES[name])
    run = encoded_run(tmp_path, recipe)
    result, _ = train_quietly(run, recipe)
    found = {"held_out": result.chosen.loss, "training": [line["loss"] for line in log_lines(run)]}
    golden = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    if name not in golden:
        FILE.write_text(json.dumps({**golden, name: found}, indent=1) + "\n", "utf-8")
        pytest.fail(f"{FILE.name} had no entry {name}: written now")
    assert found["held_out"] == pytest.approx(golden[name]["held_out"], rel=1e-4)
    assert found["training"] == pytest.approx(golden[name]["training"], rel=1e-4)
