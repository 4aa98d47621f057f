"""What the families that predict with diffusers' `UNet2DConditionModel` have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import DDPMScheduler
from torch import Tensor

from veneer.models.families.family import Family, PartSettings
from veneer.models.families.paths import Diffusion, diffusion_path
from veneer.models.vocabulary import MAX_TOKENS

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
# Of the convolutions those inside the blocks: the first and last one see 4 channels and need no update.
_CONVOLUTIONS = (
    "conv1", "conv2", "conv_shortcut", "time_emb_proj",
    "downsamplers.0.conv", "upsamplers.0.conv", "proj_in", "proj_out",
)  # fmt: skip
UNET_TARGETS = {
    "attention": _ATTENTION,
    "attention+ff": _ATTENTION + _FEED_FORWARD,
    "attention+ff+conv": _ATTENTION + _FEED_FORWARD + _CONVOLUTIONS,
}
UNET_SAMPLERS = {
    "ddim": "DDIMScheduler",
    "dpmsolver": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "ddpm": "DDPMScheduler",
}
UNET_LAYERS = re.compile(
    r"conv_in|conv_out|(?:time|add)_embedding\.linear_[12]|(?:(?:down|up)_blocks\.\d{1,3}|mid_block)\.(?:"
    r"attentions\.\d{1,3}\.(?:proj_in|proj_out|transformer_blocks\.\d{1,3}\."
    r"(?:attn[12]\.(?:to_[qkv]|to_out\.0)|ff\.net\.(?:0\.proj|2)))"
    r"|resnets\.\d{1,3}\.(?:conv1|conv2|conv_shortcut|time_emb_proj)|(?:down|up)samplers\.0\.conv)"
)


@dataclass(frozen=True)
class UNetFamily(Family):
    """A family with a UNet, a VAE that halves the side at each level, and CLIP's text encoders."""

    def prompt_tokens(self, tokenizer: Any) -> int:
        """77."""
        return int(min(tokenizer.model_max_length, MAX_TOKENS))

    def encode_pixels(self, vae: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (B, 4, H / factor, W / factor), scaled by the VAE's factor."""
        posterior = vae.encode(pixel_values.to(vae.device, vae.dtype)).latent_dist
        scale = vae.config.scaling_factor
        return posterior.mean * scale, posterior.std * scale

    def training_scheduler(self, settings: PartSettings) -> DDPMScheduler:
        """The noise schedule of training."""
        return DDPMScheduler.from_config(settings["scheduler"])

    def latent_channels(self, settings: PartSettings) -> int:
        """Those of the VAE; 4 in Stable Diffusion."""
        return int(settings["vae"].get("latent_channels", 4))

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
