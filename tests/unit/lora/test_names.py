"""Names of layers in each layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from veneer.lora.names import diffusers_name, kohya_name, module_of, read_name
from veneer.models.families.sd import SD1, SD1_SETTINGS
from veneer.models.families.sdxl import SDXL, SDXL_SETTINGS
from veneer.models.modelfiles import read_json


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Every linear and convolution layer of a real SD 1.x, without its weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(read_json(SD1_SETTINGS / "unet" / "config.json"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(SD1_SETTINGS / "text_encoder")))
    kinds = torch.nn.Linear | torch.nn.Conv2d
    names = [name for name, part in unet.named_modules() if isinstance(part, kinds)]
    return names + [f"text_encoder.{name}" for name, part in text.named_modules() if isinstance(part, kinds)]


def test_kohya_there_and_back_for_every_layer(modules: list[str]) -> None:
    assert len(modules) > 350
    assert len({kohya_name(module, SD1.lora) for module in modules}) == len(modules)
    for module in modules:
        assert module_of(kohya_name(module, SD1.lora)) == module


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
        tensors[f"{kohya_name(module, SD1.lora)}.lora_down.weight"] = torch.zeros(1)
        tensors[f"{kohya_name(module, SD1.lora)}.lora_up.weight"] = torch.zeros(1)
    save_file(tensors, tmp_path / "x.safetensors")
    state, _ = StableDiffusionPipeline.lora_state_dict(tmp_path, weight_name="x.safetensors")
    found = {read_name(name)[0] for name in state}
    assert found == set(own)


@pytest.fixture(scope="module")
def sdxl_modules() -> list[str]:
    """Every linear and convolution layer of a real SDXL, without its weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(read_json(SDXL_SETTINGS / "unet" / "config.json"))
        first = CLIPTextModel(CLIPTextConfig.from_pretrained(str(SDXL_SETTINGS / "text_encoder")))
        second = CLIPTextModelWithProjection(
            CLIPTextConfig.from_pretrained(str(SDXL_SETTINGS / "text_encoder_2"))
        )
    kinds = torch.nn.Linear | torch.nn.Conv2d
    networks = {"": unet, "text_encoder.": first, "text_encoder_2.": second}
    names = {prefix: dict(network.named_modules()) for prefix, network in networks.items()}
    found = [
        f"{prefix}{name}" for prefix, own in names.items() for name in own if isinstance(own[name], kinds)
    ]
    return [name for name in found if not name.endswith("text_projection")]


def test_every_layer_of_sdxl_there_and_back(sdxl_modules: list[str]) -> None:
    assert len(sdxl_modules) > 1000
    assert len({kohya_name(module, SDXL.lora) for module in sdxl_modules}) == len(sdxl_modules)
    for module in sdxl_modules:
        assert module_of(kohya_name(module, SDXL.lora)) == module
        assert read_name(f"{diffusers_name(module)}.lora_A.weight") == (module, "lora_A.weight")


def test_diffusers_reads_every_name_of_sdxl(sdxl_modules: list[str], tmp_path: Path) -> None:
    """Names as kohya's tools number them, all of one kind, and none is lost on the way through diffusers."""
    from diffusers import StableDiffusionXLPipeline
    from safetensors.torch import save_file

    left_out = ("conv_in", "conv_out", "text_encoder", "time_embedding", "add_embedding")
    own = [module for module in sdxl_modules if not module.startswith(left_out)]
    names = [kohya_name(module, SDXL.lora) for module in own]
    assert not any(part in name for name in names for part in ("down_blocks", "mid_block", "up_blocks"))
    tensors = {f"{name}.lora_{side}.weight": torch.zeros(1) for name in names for side in ("down", "up")}
    save_file(tensors, tmp_path / "x.safetensors")
    config = SimpleNamespace(layers_per_block=2)
    state, _ = StableDiffusionXLPipeline.lora_state_dict(
        tmp_path, weight_name="x.safetensors", unet_config=config
    )
    assert {read_name(name)[0] for name in state} == set(own)
