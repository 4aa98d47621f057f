"""A LoRA file's settings hold patterns that anybody may have written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from veneer.errors import AdapterError, VeneerError
from veneer.lora.file import read_lora
from veneer.lora.loading import load_lora
from veneer.lora.metadata import (
    DIFFUSERS_KEY,
    PATTERNS,
    adapter_metadata,
    alphas_of_metadata,
    refuse_patterns,
)

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"
EVIL = "(((([a-z_0-9.]+)+)+)+)+!"


def file_with(tmp_path: Path, **settings: Any) -> Path:
    """A LoRA file with one layer, and settings as diffusers writes them."""
    state = {
        f"unet.{LAYER}.lora_A.weight": torch.ones(2, 32),
        f"unet.{LAYER}.lora_B.weight": torch.ones(32, 2),
    }
    told = {f"unet.{key}": value for key, value in settings.items()}
    path = tmp_path / "strange.safetensors"
    save_file(
        state, path, {"format": "pt", DIFFUSERS_KEY: json.dumps({"unet.r": 2, "unet.lora_alpha": 2, **told})}
    )
    return path


def test_an_endless_pattern_ends_where_a_file_is_read(tmp_path: Path) -> None:
    path, began = file_with(tmp_path, alpha_pattern={EVIL: 7}), time.process_time()
    assert read_lora(path).alphas[LAYER] == 2
    assert time.process_time() - began < 10


@pytest.mark.parametrize("key", PATTERNS)
def test_no_library_is_given_a_pattern_to_run(tmp_path: Path, key: str) -> None:
    """Every setting that peft takes for patterns, in the form in which it does."""
    value = EVIL if key in {"target_modules", "exclude_modules", "layers_pattern"} else {EVIL: 4}
    path = file_with(tmp_path, **{key: value})
    with pytest.raises(AdapterError, match=rf"pattern that is not run: unet\.{key}.*strange\.safetensors"):
        load_lora(None, path)  # the sampler is not asked for anything


def test_what_we_and_diffusers_write_are_names() -> None:
    ranks, alphas = (
        {LAYER: 4, "mid_block.to_q": 8, "mid.to_v": 4},
        {LAYER: 4.0, "mid_block.to_q": 2.0, "mid.to_v": 4.0},
    )
    settings = adapter_metadata(ranks, alphas, use_dora=False)
    refuse_patterns(settings, "x")
    assert alphas_of_metadata(settings, ranks) == alphas
    listed = {
        "unet.target_modules": ["to_k", "to_q"],
        "unet.rank_pattern": {LAYER: 8},
        "unet.exclude_modules": None,
    }
    refuse_patterns(listed, "x")


@pytest.mark.parametrize(
    ("text", "alpha"), [("to_k", 7), (LAYER, 7), ("^down.*to_k$", 7), ("^to_k", 2), ("o_k", 2)]
)
def test_patterns_mean_layers_as_peft_takes_them(text: str, alpha: float) -> None:
    settings = {"unet.lora_alpha": 2, "unet.alpha_pattern": {text: 7}}
    assert alphas_of_metadata(settings, {LAYER: 2})[LAYER] == alpha


def test_patterns_without_end_in_number_are_refused() -> None:
    settings = {"unet.alpha_pattern": {f"a{number}.*": 1 for number in range(1000)}}
    with pytest.raises(VeneerError, match="1000 patterns"):
        alphas_of_metadata(settings, {LAYER: 2})
