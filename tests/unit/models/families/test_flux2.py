"""FLUX.2-klein: what the transformer is told and predicts, held against diffusers' own pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from veneer.errors import BaseModelError, RecipeError
from veneer.models.base import encode_pixels, encode_prompts, load_base
from veneer.models.families import family_of_folder
from veneer.models.families.fit import refuse_beyond
from veneer.models.families.flux2 import FLUX2_KLEIN
from veneer.recipe import resolve


@pytest.fixture(scope="module")
def klein_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_klein(tmp_path_factory.mktemp("klein"))


@pytest.fixture(scope="module")
def pipeline(klein_folder: Path) -> Any:
    from diffusers import Flux2KleinPipeline

    return Flux2KleinPipeline.from_pretrained(str(klein_folder), local_files_only=True)


@torch.no_grad()
def test_captions_and_pictures_are_encoded_as_the_pipeline_does(klein_folder: Path, pipeline: Any) -> None:
    base = load_base(str(klein_folder), parts=("tokenizer", "text_encoder", "vae"))
    prompts = ["a red city", "", "x" * 600]
    told = encode_prompts(base, prompts)["encoder_hidden_states"]
    assert torch.equal(told, pipeline.encode_prompt(prompts)[0])
    pixels = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = encode_pixels(base.vae, pixels)
    torch.testing.assert_close(mean, pipeline._encode_vae_image(pixels, None))
    assert not bool(std.any()) and (mean + std).shape == (2, 16, 8, 12)


@torch.no_grad()
def test_the_prediction_is_the_transformers_of_packed_places(klein_folder: Path, pipeline: Any) -> None:
    base = load_base(str(klein_folder), parts=("unet",))
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 16, 8, 12, generator=generator)
    told = base.family.probe(base.settings, lambda shape: torch.randn(shape, generator=generator))
    hidden = told["encoder_hidden_states"].expand(2, -1, -1)
    ours = base.family.predict(base.unet, latents, torch.tensor([9, 999]), {"encoder_hidden_states": hidden})
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(latents),
        encoder_hidden_states=hidden,
        timestep=torch.tensor([0.01, 1.0]),
        img_ids=pipeline._prepare_latent_ids(latents),
        txt_ids=pipeline._prepare_text_ids(hidden),
        return_dict=False,
    )[0]
    ids = pipeline._prepare_latent_ids(latents)
    torch.testing.assert_close(ours, pipeline._unpack_latents_with_ids(packed, ids))


def test_it_is_known_by_its_pipeline_and_the_distilled_one_refused(
    klein_folder: Path, tmp_path: Path
) -> None:
    assert family_of_folder(klein_folder) is FLUX2_KLEIN
    folder = Path(shutil.copytree(klein_folder, tmp_path / "distilled"))
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"is_distilled": True}))
    with pytest.raises(BaseModelError, match=r"FLUX\.2-klein, distilled") as caught:
        family_of_folder(folder)
    assert "FLUX.2-klein-base-4B" in caught.value.todo


def test_dev_is_another_family(klein_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(klein_folder, tmp_path / "dev"))
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"guidance_embeds": True}))
    with pytest.raises(BaseModelError, match="whose transformer is of another one"):
        family_of_folder(folder)


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"lora": {"text_encoder": True}}, "lora.text_encoder"),
        ({"lora": {"use_dora": True}}, "lora.use_dora"),
        ({"generate": {"scheduler": "ddim"}}, "generate.scheduler"),
        ({"generate": {"scheduler": "euler", "negative_prompt": "ugly"}}, "generate.negative_prompt"),
        ({"generate": {"scheduler": "euler", "two_pass": True}}, "generate.two_pass"),
    ],
)
def test_what_it_cannot_do_is_refused_by_its_key(tables: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        refuse_beyond(resolve(tables), FLUX2_KLEIN)
    assert caught.value.where == key and caught.value.todo


def test_its_recipe_fits_it() -> None:
    from veneer.recipe import load_recipe

    refuse_beyond(load_recipe("flux2-klein-style"), FLUX2_KLEIN)
