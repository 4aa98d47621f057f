"""Stable Diffusion XL: what its UNet is told is what plain diffusers tells it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from helpers import ldm, tiny
from veneer.config import BaseTable
from veneer.errors import BaseModelError
from veneer.models.base import encode_prompts, load_base, load_base_of
from veneer.models.families import CropView, recognise
from veneer.models.families.sdxl import SDXL, SDXL_SETTINGS, SIZES
from veneer.models.modelfiles import read_json


def test_states_are_those_of_the_pipeline_and_nothing_is_zeros(sdxl_folder: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(str(sdxl_folder), local_files_only=True)
    with torch.no_grad():
        states, negative, pooled, negative_pooled = pipeline.encode_prompt("a red city")
        base = load_base(str(sdxl_folder), parts=("tokenizer", "text_encoder"))
        told = encode_prompts(base, ["a red city", ""])
    assert set(told) == {"encoder_hidden_states", "text_embeds"}
    torch.testing.assert_close(told["encoder_hidden_states"], torch.cat([states, negative]))
    torch.testing.assert_close(told["text_embeds"], torch.cat([pooled, negative_pooled]))
    assert not told["encoder_hidden_states"][1].any() and told["encoder_hidden_states"][0].any()


def test_a_base_that_encodes_the_empty_prompt_is_told_so(sdxl_folder: Path) -> None:
    base = load_base(str(sdxl_folder), parts=("tokenizer", "text_encoder"))
    base.settings["pipeline"]["force_zeros_for_empty_prompt"] = False
    with torch.no_grad():
        assert encode_prompts(base, [""])["encoder_hidden_states"].any()


@pytest.mark.parametrize(("mirrored", "left"), [(False, 30), (True, 20)])
def test_sizes_are_height_first_and_the_crop_is_mirrored_with_the_picture(mirrored: bool, left: int) -> None:
    view = CropView(size=(400, 300), resized=(150, 112), corner=(30, 5), bucket=(100, 90), mirrored=mirrored)
    assert SDXL.describe(view)[SIZES].tolist() == [300, 400, 5, left, 90, 100]


def test_sides_are_multiples_of_64_pixels() -> None:
    settings = {part: read_json(SDXL_SETTINGS / part / "config.json") for part in ("unet", "vae")}
    assert (SDXL.size_multiple(settings), SDXL.native_px(settings)) == (64, 1024)


def test_the_objective_is_the_bases_own_or_the_recipes(tmp_path: Path) -> None:
    folder = tiny.tiny_sdxl(tmp_path, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    own = load_base(str(folder), parts=())
    assert own.prediction_type == "v_prediction"
    path = SDXL.path(own.settings)
    assert float(path.alphas_cumprod[-1]) == 0
    plain = tiny.tiny_sdxl(tmp_path / "plain")
    table = BaseTable(model=str(plain), prediction="v_prediction_zero_snr")
    told = load_base_of(table, parts=())
    assert torch.equal(SDXL.path(told.settings).alphas_cumprod, path.alphas_cumprod)
    assert told.settings["scheduler"]["timestep_spacing"] == "trailing"
    assert float(SDXL.path(load_base(str(plain), parts=()).settings).alphas_cumprod[-1]) > 0


@pytest.fixture
def checkpoint(sdxl_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny base in one file, read by its own settings in place of the real ones."""
    layout = dataclasses.replace(SDXL.single_file, settings=sdxl_folder)
    own = dataclasses.replace(SDXL, single_file=layout)
    monkeypatch.setattr(recognise, "FAMILIES", (own,))
    shutil.copytree(sdxl_folder / "tokenizer", tmp_path / "tokenizer")
    return ldm.write_sdxl_checkpoint(
        sdxl_folder, tmp_path / "model.safetensors", marks=("v_pred", "ztsnr"), ema=True
    )


def test_a_single_file_is_the_same_base(sdxl_folder: Path, checkpoint: Path) -> None:
    folder, single = load_base(str(sdxl_folder)), load_base(str(checkpoint))
    for part in SDXL.networks:
        own, other = (base.parts[part].state_dict() for base in (folder, single))
        assert own.keys() == other.keys()
        for name, tensor in own.items():
            assert torch.equal(tensor, other[name]), (part, name)
    prompts = ["a red city", ""]
    told, same = encode_prompts(folder, prompts), encode_prompts(single, prompts)
    assert all(torch.equal(told[name], same[name]) for name in told)
    assert single.prediction_type == "v_prediction"
    assert float(SDXL.path(single.settings).alphas_cumprod[-1]) == 0


def test_a_single_file_without_a_vae_takes_another(
    sdxl_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    tensors = {n: t for n, t in load_file(checkpoint).items() if not n.startswith("first_stage_model.")}
    bare = tmp_path / "bare.safetensors"
    save_file(tensors, bare)
    with pytest.raises(BaseModelError, match="the checkpoint has no vae") as caught:
        load_base(str(bare), parts=("vae",))
    assert "base.vae" in caught.value.todo
    load_base(str(bare), vae=str(sdxl_folder), parts=("vae",))
