"""What a LoRA file says of itself; and its settings hold patterns that anybody may have written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from veneer.errors import VeneerError
from veneer.lora.file import diffusers_settings
from veneer.lora.metadata import DIFFUSERS_KEY, adapter_metadata, alphas_of_metadata, kohya_metadata
from veneer.lora.reader import read_lora
from veneer.lora.weights import DOWN, MAGNITUDE, UP, LoraFile
from veneer.patterns import plain_name

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"
EVIL = "(((([a-z_0-9.]+)+)+)+)+!"
RANKS = {"a.to_q": 4, "a.to_k": 4, "b.to_q": 8, "text_encoder.c.q_proj": 2}
ALPHAS = {"a.to_q": 4.0, "a.to_k": 1.5, "b.to_q": 4.0, "text_encoder.c.q_proj": 1.0}


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


PATTERNS = ("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_pattern")


@pytest.mark.parametrize("key", PATTERNS)
def test_no_library_is_given_a_pattern_to_run(tmp_path: Path, key: str) -> None:
    """Every setting that peft takes for patterns, in the form in which it does: names alone are handed on."""
    value = EVIL if key in {"target_modules", "exclude_modules", "layers_pattern"} else {EVIL: 4}
    handed = diffusers_settings(read_lora(file_with(tmp_path, **{key: value})))
    given = [text for name, own in handed.items() if name.endswith(PATTERNS) for text in own]
    assert given
    assert all(plain_name(text) is not None for text in given)


def test_what_we_and_diffusers_write_are_names() -> None:
    ranks, alphas = (
        {LAYER: 4, "mid_block.to_q": 8, "mid.to_v": 4},
        {LAYER: 4.0, "mid_block.to_q": 2.0, "mid.to_v": 4.0},
    )
    settings = adapter_metadata(ranks, alphas, use_dora=False)
    assert all(plain_name(text) is not None for text in settings["unet.target_modules"])
    assert alphas_of_metadata(settings, ranks) == alphas


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


def lora_of(ranks: dict[str, int], *, use_dora: bool = False, **metadata: str) -> LoraFile:
    state: dict[str, torch.Tensor] = {}
    for module, rank in ranks.items():
        state |= {f"{module}.{DOWN}": torch.zeros(rank, 6), f"{module}.{UP}": torch.zeros(6, rank)}
        if use_dora:
            state[f"{module}.{MAGNITUDE}"] = torch.ones(6)
    text = {f"veneer.{key}": value for key, value in metadata.items()}
    return LoraFile(state, dict.fromkeys(ranks, 2.0), metadata=text)


def test_each_network_has_its_usual_rank_and_the_exceptions_by_pattern() -> None:
    settings = adapter_metadata(RANKS, ALPHAS, use_dora=True)
    assert (settings["unet.r"], settings["unet.lora_alpha"]) == (4, 4.0)
    assert settings["unet.target_modules"] == ["a.to_k", "a.to_q", "b.to_q"]
    assert settings["unet.rank_pattern"] == {r"^b\.to_q": 8}
    assert settings["unet.alpha_pattern"] == {r"^a\.to_k": 1.5}
    assert (settings["text_encoder.r"], settings["text_encoder.target_modules"]) == (2, ["c.q_proj"])
    assert settings["unet.use_dora"] is settings["text_encoder.use_dora"] is True


def test_a_network_without_an_adapter_is_not_spoken_of() -> None:
    settings = adapter_metadata({"a.to_q": 4}, {"a.to_q": 4.0}, use_dora=False)
    assert all(key.startswith("unet.") for key in settings)


def test_alphas_come_back_from_the_settings() -> None:
    assert alphas_of_metadata(adapter_metadata(RANKS, ALPHAS, use_dora=False), RANKS) == ALPHAS


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ({}, 4.0),
        ({"unet.lora_alpha": 8}, 8.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 2}}, 2.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"o_q": 2}}, 8.0),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 16.0),
        ({"text_encoder.lora_alpha": 1}, 4.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": None}, 8.0),
    ],
)
def test_settings_that_others_wrote_are_read_as_peft_reads_them(
    settings: dict[str, Any], alpha: float
) -> None:
    assert alphas_of_metadata(settings, {"a.to_q": 4}) == {"a.to_q": alpha}


def test_model_managers_are_told_rank_base_and_training() -> None:
    recipe = (
        '[encode]\nresolution = 640\n[train]\nseed = 3\nlearning_rate = 1e-4\n[caption]\ntrigger = "8-bit"\n'
    )
    text = kohya_metadata(
        lora_of({"a.to_q": 4, "b.to_q": 8, "c.to_q": 4}, base="a base", step="70", recipe=recipe), "city"
    )
    assert (text["ss_network_dim"], text["ss_network_alpha"]) == ("4", "2.0")
    assert (text["ss_sd_model_name"], text["ss_steps"], text["ss_seed"]) == ("a base", "70", "3")
    assert (text["ss_learning_rate"], text["modelspec.trigger_phrase"]) == ("0.0001", "8-bit")
    assert (text["ss_resolution"], text["modelspec.resolution"]) == ("(640, 640)", "640x640")
    assert text["modelspec.description"] == "LoRA for a base"
    assert "ss_network_args" not in text


@pytest.mark.parametrize(
    ("family", "prediction", "version", "architecture", "resolution"),
    [
        ("sd1", "epsilon", "sd_v1", "stable-diffusion-v1/lora", "512x512"),
        ("sd2", "epsilon", "sd_v2", "stable-diffusion-v2-512/lora", "512x512"),
        ("sd2", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v/lora", "768x768"),
    ],
)
def test_each_family_has_the_names_that_managers_know(
    family: str, prediction: str, version: str, architecture: str, resolution: str
) -> None:
    text = kohya_metadata(lora_of({"a.to_q": 4}, family=family, prediction_type=prediction), "x")
    assert (text["ss_base_model_version"], text["modelspec.architecture"]) == (version, architecture)
    assert text["modelspec.resolution"] == resolution
    assert text["ss_v2"] == str(family == "sd2")
    assert text["modelspec.prediction_type"] == ("v" if prediction == "v_prediction" else "epsilon")


def test_what_is_not_known_is_left_out_and_a_broken_recipe_is_none() -> None:
    text = kohya_metadata(lora_of({"a.to_q": 4}, recipe="no [toml"), "x")
    assert "ss_seed" not in text
    assert "ss_steps" not in text
    assert "modelspec.trigger_phrase" not in text
    assert all(text.values())


def test_magnitudes_are_said() -> None:
    assert kohya_metadata(lora_of({"a.to_q": 4}, use_dora=True), "x")["ss_network_args"]
