"""What the families that predict with diffusers' `UNet2DConditionModel` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from veneer.models.families.family import Family, PartSettings
from veneer.models.families.paths import Diffusion, diffusion_path


@dataclass(frozen=True)
class UNetFamily(Family):
    """A family with a UNet, a VAE that halves the side at each level, and CLIP's text encoders."""

    def path(self, settings: PartSettings) -> Diffusion:
        """How the base mixes pictures with noise."""
        return diffusion_path(settings["scheduler"])

    def vae_factor(self, settings: PartSettings) -> int:
        """Pixels for each latent pixel, along a side; 8 in Stable Diffusion."""
        return int(2 ** (len(settings["vae"]["block_out_channels"]) - 1))

    def native_px(self, settings: PartSettings) -> int:
        """Side of the square pictures that the base was trained on, in pixels."""
        return int(settings["unet"]["sample_size"]) * self.vae_factor(settings)


def tokenize_prompt(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Turn prompts into token numbers, padded or cut to the model's length.

    Args:
        prompts: B prompts.

    Returns:
        Input ids, shape (B, L), int64; L is the tokenizer's `model_max_length`, 77 in CLIP.
    """
    length = tokenizer.model_max_length
    options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
    ids: Tensor = tokenizer(list(prompts), **options).input_ids
    return ids
