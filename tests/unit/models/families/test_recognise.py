"""Families: what is customised, and how others are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from veneer.errors import BaseModelError
from veneer.models.base import load_base
from veneer.models.families import family_of_checkpoint, family_of_folder, objective_of_checkpoint

SD1_UNET = "model.diffusion_model.input_blocks.0.0.weight"


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("StableDiffusionXLInpaintPipeline", "Stable Diffusion XL inpainting"),
        ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
        ("Krea2Pipeline", "Krea 2"),
        ("Flux2Pipeline", "FLUX.2"),
        ("FluxPipeline", "Flux"),
        ("KandinskyPipeline", "KandinskyPipeline"),
    ],
)
def test_other_pipelines_are_named(base_folder: Path, tmp_path: Path, name: str, family: str) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    edit(folder / "model_index.json", _class_name=name)
    with pytest.raises(BaseModelError, match=f"another family: {family}"):
        family_of_folder(folder)


def test_sdxl_is_known_with_and_without_an_index(sdxl_folder: Path, tmp_path: Path) -> None:
    assert family_of_folder(sdxl_folder).name == "sdxl"
    folder = shutil.copytree(sdxl_folder, tmp_path / "base")
    (folder / "model_index.json").unlink()
    assert family_of_folder(folder).name == "sdxl"


STRANGE: dict[str, tuple[str, dict[str, object], str, str]] = {
    "refiner": ("unet/config.json", {"cross_attention_dim": 1280}, "the refiner", "base-1.0"),
    "aesthetics": ("model_index.json", {"requires_aesthetics_score": True}, "the refiner", "base-1.0"),
    "inpainting": ("unet/config.json", {"in_channels": 9}, "9 input channels", "the base that it came from"),
    "lcm": ("unet/config.json", {"time_cond_proj_dim": 256}, "distilled", "distilled from"),
    "turbo": (
        "scheduler/scheduler_config.json",
        {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"},
        "distilled",
        "draw with the LoRA on the distilled one",
    ),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_base_to_train_is_named_with_the_way_out(
    sdxl_folder: Path, tmp_path: Path, kind: str
) -> None:
    file, values, what, todo = STRANGE[kind]
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "base"))
    edit(folder / file, **values)
    with pytest.raises(BaseModelError, match=what) as caught:
        family_of_folder(folder)
    assert todo in caught.value.todo


def test_a_base_without_text_encoders_is_named(sdxl_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "base"))
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(BaseModelError, match=r"without its text encoder \(text_encoder_2 is missing\)"):
        load_base(str(folder))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("stabilityai/sdxl-turbo", "a distilled base"),
        ("someone/model-xl-lightning@main", "a distilled base"),
        ("stabilityai/stable-diffusion-xl-refiner-1.0", "the refiner"),
        ("stabilityai/stable-diffusion-3.5-large", "Stable Diffusion 3"),
        ("krea/Krea-2-Raw", "Krea"),
        ("Tongyi-MAI/Z-Image-Turbo", "Z-Image Turbo, distilled"),
        ("black-forest-labs/FLUX.2-klein-4B", "FLUX.2-klein, distilled"),
        ("black-forest-labs/FLUX.2-dev", "FLUX.2,"),
        ("stable-diffusion-v1-5/stable-diffusion-inpainting", "Stable Diffusion inpainting"),
    ],
)
def test_a_hub_name_is_refused_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.setattr("veneer.models.modelfiles.snapshot_download", None)
    with pytest.raises(BaseModelError, match=f"another family: {what}"):
        load_base(name)


def test_inpainting(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    edit(folder / "unet" / "config.json", in_channels=9)
    with pytest.raises(BaseModelError, match="Stable Diffusion inpainting"):
        family_of_folder(folder)


def test_second_generation(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    edit(folder / "unet" / "config.json", cross_attention_dim=1024)
    assert family_of_folder(folder).name == "sd2"


def test_any_folder(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="not a Stable Diffusion folder"):
        family_of_folder(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conditioner.embedders.0.model.x", SD1_UNET], "the refiner of Stable Diffusion XL"),
        (["conditioner.embedders.0.transformer.x"], "has no UNet"),
        ([SD1_UNET], "without its text encoder"),
        (["lora_unet_x.lokr_w1"], "LoRA"),
        (["model.diffusion_model.joint_blocks.0.x"], "Stable Diffusion 3"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["double_stream_modulation_img.lin.weight", "double_blocks.0.x"], "FLUX.2, its transformer alone"),
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


def test_a_single_file_says_what_it_predicts(tmp_path: Path) -> None:
    names = ["conditioner.embedders.0.transformer.x", "conditioner.embedders.1.model.x"]
    tensors = {name: torch.zeros(1) for name in names} | {SD1_UNET: torch.zeros(8, 4, 3, 3)}
    save_file(tensors, tmp_path / "plain.safetensors")
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(tensors | marks, tmp_path / "marked.safetensors")
    save_file(tensors, tmp_path / "told.safetensors", {"modelspec.prediction_type": "v"})
    said = {}
    for kind in ("plain", "marked", "told"):
        path = tmp_path / f"{kind}.safetensors"
        said[kind] = objective_of_checkpoint(path, family_of_checkpoint(path))
    velocity = {"prediction_type": "v_prediction"}
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    assert said == {"plain": {}, "told": velocity, "marked": velocity | zero}
