"""Z-Image, experimental: one state of Qwen3 without padding, 16 channels at an eighth, a straight path.

The transformer counts time from noise to picture, and says the way back: both are turned round here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from torch import Tensor
from transformers import Qwen2TokenizerFast, Qwen3Model

from veneer.models.families.family import Conditioning, Draw, LoraNames, Parts, PartSettings
from veneer.models.families.flow import noise_share
from veneer.models.families.sd import HIDDEN
from veneer.models.families.transformers import FLOW_SAMPLERS, TransformerFamily, asked_as_chat

MOST_TOKENS = 512
"""Tokens that the text encoder reads; the states of what lies beyond a caption are zeros in the cache."""
_ATTENTION = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")
_FEED_FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
_NAMES = {f"layers.{{}}.{one}": (f"layers.{{}}.{one}",) for one in _ATTENTION + _FEED_FORWARD}
"""ComfyUI takes diffusers' names as they are; the refiners before the layers stay the base's own."""


@dataclass(frozen=True)
class ZImage(TransformerFamily):
    """Z-Image, the base that was not distilled."""

    def is_folder(self, pipeline: str, denoiser: Mapping[str, Any]) -> bool:
        """Whether a folder is of this family: by its pipeline, and a transformer that sees no pictures."""
        return pipeline in self.pipelines and denoiser.get("siglip_feat_dim") is None

    def prompt_tokens(self, tokenizer: Any) -> int:
        """Tokens left for a prompt beside the template around it."""
        return MOST_TOKENS - len(tokenizer(asked_as_chat(tokenizer, "", thinking=True)).input_ids)

    def encode_prompts(self, parts: Parts, settings: PartSettings, prompts: Sequence[str]) -> Conditioning:
        """States before the last layer, shape (B, 512, D), zeros where a prompt has no token."""
        tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
        options = {"padding": "max_length", "max_length": MOST_TOKENS, "truncation": True}
        asked = [asked_as_chat(tokenizer, prompt, thinking=True) for prompt in prompts]
        ids = tokenizer(asked, return_tensors="pt", **options).to(encoder.device)
        mask = ids.attention_mask.bool()
        said = encoder(ids.input_ids, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
        return {HIDDEN: said * mask[..., None]}

    def probe(self, settings: PartSettings, draw: Draw) -> Conditioning:
        """States, shape (1, 512, D)."""
        return {HIDDEN: draw((1, MOST_TOKENS, settings["transformer"]["cap_feat_dim"]))}

    def predict(self, network: Any, noisy_latents: Tensor, timesteps: Tensor, told: Conditioning) -> Tensor:
        """The way from picture to noise, shape (B, 16, h, w)."""
        hidden = told[HIDDEN].to(noisy_latents.dtype)
        captions = list(hidden) if hidden.is_meta else [one[(one != 0).any(dim=-1)] for one in hidden]
        share = (1 - noise_share(timesteps)).to(noisy_latents.dtype)
        said = network(list(noisy_latents.unsqueeze(2)), share, captions, return_dict=False)[0]
        return -torch.stack(list(said)).squeeze(2)

    def encode_pixels(self, vae: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest latents, (B, 16, H / 8, W / 8), shifted and scaled; their deviation is 0."""
        mode = vae.encode(pixel_values.to(vae.device, vae.dtype)).latent_dist.mode()
        latents = (mode - vae.config.shift_factor) * vae.config.scaling_factor
        return latents, torch.zeros_like(latents[:, :, :1, :1])

    def vae_factor(self, settings: PartSettings) -> int:
        """8."""
        return int(2 ** (len(settings["vae"]["block_out_channels"]) - 1))

    def latent_channels(self, settings: PartSettings) -> int:
        """16."""
        return int(settings["vae"].get("latent_channels", 16))

    def size_multiple(self, settings: PartSettings) -> int:
        """16 px: 2 x 2 latents make a place."""
        return 2 * self.vae_factor(settings)


Z_IMAGE = ZImage(
    name="z-image",
    label="Z-Image",
    pipelines=("ZImagePipeline",),
    denoiser="transformer",
    networks={"transformer": ZImageTransformer2DModel, "text_encoder": Qwen3Model, "vae": AutoencoderKL},
    text_encoders={"text_encoder": "tokenizer"},
    tokenizer=Qwen2TokenizerFast,
    targets={
        "attention": _ATTENTION,
        "attention+ff": _ATTENTION + _FEED_FORWARD,
        "attention+ff+conv": _ATTENTION + _FEED_FORWARD,
    },
    samplers=FLOW_SAMPLERS,
    lora=LoraNames(
        layers=re.compile(r"layers\.\d{1,3}\.(?:attention\.(?:to_[qkv]|to_out\.0)|feed_forward\.w[123])"),
        native=_NAMES,
        version=("z_image", "z_image"),
        architecture=("z-image", "z-image"),
        native_px=(1024, 1024),
    ),
    learns_words=False,
    adapts_text=False,
    has_refiner=False,
    holds_dora=False,
    heavy_text=True,
    fits_half=False,
    keeps_shapes=False,
)
