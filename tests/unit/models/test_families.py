"""Families: what is customised, and how others are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from veneer.errors import BaseModelError
from veneer.models.families import family_of_checkpoint, family_of_folder

SD1_UNET = "model.diffusion_model.input_blocks.0.0.weight"


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("StableDiffusionXLPipeline", "Stable Diffusion XL"),
        ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
        ("FluxPipeline", "Flux"),
        ("KandinskyPipeline", "KandinskyPipeline"),
    ],
)
def test_other_pipelines_are_named(base_folder: Path, tmp_path: Path, name: str, family: str) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    edit(folder / "model_index.json", _class_name=name)
    with pytest.raises(BaseModelError, match=f"another family: {family}"):
        family_of_folder(folder)


def test_sdxl_without_an_index(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    (folder / "model_index.json").unlink()
    edit(folder / "unet" / "config.json", addition_embed_type="text_time")
    with pytest.raises(BaseModelError, match="Stable Diffusion XL"):
        family_of_folder(folder)


def test_inpainting(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    edit(folder / "unet" / "config.json", in_channels=9)
    with pytest.raises(BaseModelError, match="Stable Diffusion inpainting"):
        family_of_folder(folder)


def test_second_generation(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    edit(folder / "unet" / "config.json", cross_attention_dim=1024)
    assert family_of_folder(folder) == "sd2"


def test_any_folder(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="not a Stable Diffusion folder"):
        family_of_folder(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conditioner.embedders.0.transformer.x", SD1_UNET], "Stable Diffusion XL"),
        (["model.diffusion_model.joint_blocks.0.x"], "Stable Diffusion 3"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["lora_unet_x.lora_down.weight"], "a LoRA, not a base model"),
        (["unet.x.lora_A.weight"], "a LoRA, not a base model"),
        (["cond_stage_model.model.transformer.x", SD1_UNET], "does not say what it predicts"),
        (["something.else"], "unknown"),
        (["cond_stage_model.transformer.x"], "has no UNet"),
    ],
)
def test_checkpoints(tmp_path: Path, names: list[str], message: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({name: torch.zeros(2, 4) for name in names}, path)
    with pytest.raises(BaseModelError, match=message):
        family_of_checkpoint(path)


def test_checkpoint_for_inpainting(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({SD1_UNET: torch.zeros(8, 9, 3, 3), "cond_stage_model.transformer.x": torch.zeros(1)}, path)
    with pytest.raises(BaseModelError, match="inpainting"):
        family_of_checkpoint(path)


def test_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"not a header")
    with pytest.raises(BaseModelError, match="the file is damaged"):
        family_of_checkpoint(path)
