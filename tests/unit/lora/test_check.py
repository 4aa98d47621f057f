"""Loading back: what diffusers would lose silently is an error here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helpers.loras import random_lora
from veneer.errors import AdapterError
from veneer.lora.check import applied, verify
from veneer.lora.file import write_diffusers, write_kohya
from veneer.models.base import Base, load_base

WRITERS = {"diffusers": write_diffusers, "kohya": write_kohya}


@pytest.fixture
def base(base_folder: Path) -> Base:
    return load_base(str(base_folder), parts=("tokenizer", "text_encoder", "unet", "scheduler"))


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 9},
        {"lora_alpha": 9, "target_modules": "attention+ff+conv"},
        {"rank_pattern": {"to_q": 8}, "use_rslora": True, "text_encoder": True},
        {"use_dora": True, "target_modules": "attention+ff+conv", "text_encoder": True},
    ],
)
def test_both_layouts_load(
    base: Base, base_folder: Path, tmp_path: Path, layout: str, settings: dict[str, Any]
) -> None:
    lora = random_lora(base_folder, **settings)
    WRITERS[layout](tmp_path / "x.safetensors", lora)
    before = [name for name, _ in base.unet.named_parameters()]
    # A whole UNet in float32 rounds by 1e-5 on some processors; a wrong alpha shows at 1e-3 and above.
    assert verify(tmp_path / "x.safetensors", lora, base) < 3e-5
    assert [name for name, _ in base.unet.named_parameters()] == before


def test_a_lost_alpha_is_found(base: Base, base_folder: Path, tmp_path: Path) -> None:
    lora = random_lora(base_folder, rank=4, lora_alpha=2)
    path = tmp_path / "x.safetensors"
    write_diffusers(path, lora)
    save_file(load_file(path), path)
    with pytest.raises(AdapterError, match="does not load as trained"):
        verify(path, lora, base)


def test_lost_layers_are_found(base: Base, base_folder: Path, tmp_path: Path) -> None:
    """What diffusers does with a file whose attention layers alone have its older names."""
    from diffusers.utils import convert_state_dict_to_diffusers

    lora = random_lora(base_folder, target_modules="attention+ff+conv")
    path = tmp_path / "x.safetensors"
    renamed = convert_state_dict_to_diffusers(dict(lora.state))
    save_file({f"unet.{name}": weight.contiguous() for name, weight in renamed.items()}, path)
    with pytest.raises(AdapterError, match="does not load as trained"):
        verify(path, lora, base)


def test_a_differing_alpha_of_one_layer_is_found(base: Base, base_folder: Path, tmp_path: Path) -> None:
    lora = random_lora(base_folder)
    path = tmp_path / "x.safetensors"
    write_diffusers(path, lora)
    with safe_open(path, "pt") as file:
        text = dict(file.metadata())
    settings = json.loads(text["lora_adapter_metadata"])
    settings["unet.alpha_pattern"] = {"to_q": 40}
    save_file(load_file(path), path, metadata=text | {"lora_adapter_metadata": json.dumps(settings)})
    with pytest.raises(AdapterError, match="does not load as trained"):
        verify(path, lora, base)


def test_a_lora_of_another_base(base: Base, base_folder: Path) -> None:
    lora = random_lora(base_folder)
    renamed = {name.replace("mid_block", "down_blocks.7"): weight for name, weight in lora.state.items()}
    alphas = {name.replace("mid_block", "down_blocks.7"): alpha for name, alpha in lora.alphas.items()}
    other = type(lora)(renamed, alphas)
    with (
        pytest.raises(AdapterError, match=r"made for another base: it has down_blocks\.7"),
        applied(base, other),
    ):
        pass


def test_a_lora_of_another_width(base: Base, base_folder: Path) -> None:
    lora = random_lora(base_folder)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    other = type(lora)(dict(lora.state) | {name: lora.state[name][:, :8]}, lora.alphas)
    with pytest.raises(AdapterError, match="does not fit"), applied(base, other):
        pass
