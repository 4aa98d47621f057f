"""Names of layers in each layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from veneer.lora.names import diffusers_name, kohya_name, module_of, read_name
from veneer.models.families import read_json
from veneer.models.parts import SD1


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Every linear and convolution layer of a real SD 1.x, without its weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(read_json(SD1 / "unet" / "config.json"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(SD1 / "text_encoder")))
    kinds = torch.nn.Linear | torch.nn.Conv2d
    names = [name for name, part in unet.named_modules() if isinstance(part, kinds)]
    return names + [f"text_encoder.{name}" for name, part in text.named_modules() if isinstance(part, kinds)]


def test_kohya_there_and_back_for_every_layer(modules: list[str]) -> None:
    assert len(modules) > 350
    assert len({kohya_name(module) for module in modules}) == len(modules)
    for module in modules:
        assert module_of(kohya_name(module)) == module


def test_diffusers_there_and_back_for_every_layer(modules: list[str]) -> None:
    for module in modules:
        key = f"{diffusers_name(module)}.lora_A.weight"
        assert read_name(key) == (module, "lora_A.weight")


def test_diffusers_reads_the_same_names(modules: list[str], tmp_path: Path) -> None:
    """diffusers' own converter must turn kohya's names of attention, feed-forward and blocks into ours."""
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import save_file

    left_out = ("conv_in", "conv_out", "text_encoder.", "time_embedding")
    own = [module for module in modules if not module.startswith(left_out)]
    tensors = {}
    for module in own:
        tensors[f"{kohya_name(module)}.lora_down.weight"] = torch.zeros(1)
        tensors[f"{kohya_name(module)}.lora_up.weight"] = torch.zeros(1)
    save_file(tensors, tmp_path / "x.safetensors")
    state, _ = StableDiffusionPipeline.lora_state_dict(tmp_path, weight_name="x.safetensors")
    found = {read_name(name)[0] for name in state}
    assert found == set(own)
