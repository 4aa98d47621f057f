"""Z-Image: captions without padding as its pipeline has them, and time and prediction turned round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from veneer.errors import RecipeError
from veneer.models.base import encode_pixels, encode_prompts, load_base
from veneer.models.families.fit import refuse_beyond
from veneer.models.families.zimage import Z_IMAGE
from veneer.recipe import resolve


@torch.no_grad()
def test_it_is_told_and_predicts_what_its_pipeline_does(tmp_path: Path) -> None:
    from diffusers import ZImagePipeline

    base = load_base(str(tiny.tiny_zimage(tmp_path)), parts=("tokenizer", "text_encoder", "vae", "unet"))
    pipeline: Any = ZImagePipeline.from_pretrained(str(tmp_path), local_files_only=True)
    told = encode_prompts(base, ["a red city", ""])
    theirs = pipeline.encode_prompt(["a red city", ""], do_classifier_free_guidance=False)[0]
    for ours, own in zip(told["encoder_hidden_states"], theirs, strict=True):
        torch.testing.assert_close(ours[: len(own)], own)
        assert not bool(ours[len(own) :].any())
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 16, 24, generator=generator)
    ours = base.family.predict(base.unet, latents, torch.tensor([99, 899]), told)
    times = torch.tensor([0.9, 0.1])
    said = pipeline.transformer(list(latents.unsqueeze(2)), times, theirs, return_dict=False)[0]
    torch.testing.assert_close(ours, -torch.stack(said).squeeze(2), rtol=1e-4, atol=1e-5)
    pixels = torch.rand(1, 3, 32, 48, generator=generator) * 2 - 1
    mean, std = encode_pixels(base.vae, pixels)
    mode = pipeline.vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(mean / 0.3611 + 0.1159, mode, rtol=1e-4, atol=1e-5)
    assert not bool(std.any())


@pytest.mark.parametrize(
    ("train", "key"),
    [({"mixed_precision": "fp16", "cuda_graph": False}, "train.mixed_precision"), ({}, "train.cuda_graph")],
)
def test_what_it_cannot_do_is_refused_by_its_key(train: dict[str, Any], key: str) -> None:
    recipe = resolve({"train": train, "generate": {"scheduler": "euler"}})
    with pytest.raises(RecipeError) as caught:
        refuse_beyond(recipe, Z_IMAGE)
    assert caught.value.where == key


@torch.no_grad()
def test_a_vae_of_another_family_with_its_class_is_used_as_that_familys(tmp_path: Path) -> None:
    own = load_base(str(tiny.tiny_base(tmp_path)), parts=("vae",))
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = encode_pixels(own.vae, pixels)
    posterior = own.vae.encode(pixels).latent_dist
    assert torch.equal(mean, posterior.mean * 0.18215) and torch.equal(std, posterior.std * 0.18215)
