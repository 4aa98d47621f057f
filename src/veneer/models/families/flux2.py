"""FLUX.2-klein (base): Qwen3's layers side by side, 128 channels at a sixteenth, a straight path to noise.

Sizes of the released 4B and 9B bases are in their settings; nothing here depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import Tensor
from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM

from veneer.models.families.family import Conditioning, Draw, LoraNames, Parts, PartSettings
from veneer.models.families.flow import noise_share
from veneer.models.families.sd import HIDDEN
from veneer.models.families.transformers import FLOW_SAMPLERS, TransformerFamily, asked_as_chat

TEXT_LAYERS = (9, 18, 27)
"""Layers of the text encoder whose states lie side by side."""
TEXT_TOKENS = 512
"""Tokens that the transformer is told, padding included, as the pipeline has it."""
PATCH = 2
"""Pixels of the VAE, along a side, that make one of the transformer's."""

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "to_qkv_mlp_proj", "attn.to_out")
_REST = (
    "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    "ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out",
)  # fmt: skip
_BOTH, _ONE = "transformer_blocks.{}.", "single_transformer_blocks.{}."
NATIVE = {
    "double_blocks.{}.img_attn.qkv": tuple(f"{_BOTH}attn.to_{one}" for one in "qkv"),
    "double_blocks.{}.txt_attn.qkv": tuple(f"{_BOTH}attn.add_{one}_proj" for one in "qkv"),
    "double_blocks.{}.img_attn.proj": (f"{_BOTH}attn.to_out.0",),
    "double_blocks.{}.txt_attn.proj": (f"{_BOTH}attn.to_add_out",),
    "double_blocks.{}.img_mlp.0": (f"{_BOTH}ff.linear_in",),
    "double_blocks.{}.img_mlp.2": (f"{_BOTH}ff.linear_out",),
    "double_blocks.{}.txt_mlp.0": (f"{_BOTH}ff_context.linear_in",),
    "double_blocks.{}.txt_mlp.2": (f"{_BOTH}ff_context.linear_out",),
    "single_blocks.{}.linear1": (f"{_ONE}attn.to_qkv_mlp_proj",),
    "single_blocks.{}.linear2": (f"{_ONE}attn.to_out",),
}
"""Layers as the first release names them, and what diffusers makes of each: one layer, or three."""
LAYERS = re.compile(
    r"transformer_blocks\.[0-7]\.(?:attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|ff(?:_context)?\.linear_(?:in|out))"
    r"|single_transformer_blocks\.(?:1?\d|2[0-3])\.attn\.(?:to_qkv_mlp_proj|to_out)"
)
"""Of at most 8 double and 24 single blocks, as the 9B base has: Flux and FLUX.2-dev have more."""


@dataclass(frozen=True)
class Flux2Klein(TransformerFamily):
    """FLUX.2-klein, the base that was not distilled."""

    def is_folder(self, pipeline: str, denoiser: Mapping[str, Any]) -> bool:
        """Whether a folder is of this family: by its pipeline, and a transformer that is told no guidance."""
        return pipeline in self.pipelines and not denoiser.get("guidance_embeds", False)

    def checked_folder(self, settings: PartSettings) -> str | None:
        """Whether it is the klein of four steps, which is distilled."""
        return "FLUX.2-klein, distilled" if settings["pipeline"].get("is_distilled") else None

    def prompt_tokens(self, tokenizer: Any) -> int:
        """Tokens left for a prompt beside the template around it."""
        return TEXT_TOKENS - len(tokenizer(asked_as_chat(tokenizer, "", thinking=False)).input_ids)

    def encode_prompts(self, parts: Parts, settings: PartSettings, prompts: Sequence[str]) -> Conditioning:
        """States of three layers side by side, shape (B, 512, 3 D)."""
        tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
        options = {"padding": "max_length", "max_length": TEXT_TOKENS, "truncation": True}
        asked = [asked_as_chat(tokenizer, prompt, thinking=False) for prompt in prompts]
        ids = tokenizer(asked, return_tensors="pt", **options).to(encoder.device)
        said = encoder.model(ids.input_ids, attention_mask=ids.attention_mask, output_hidden_states=True)
        return {HIDDEN: torch.cat([said.hidden_states[layer] for layer in TEXT_LAYERS], dim=-1)}

    def probe(self, settings: PartSettings, draw: Draw) -> Conditioning:
        """States, shape (1, 512, 3 D)."""
        return {HIDDEN: draw((1, TEXT_TOKENS, settings["transformer"]["joint_attention_dim"]))}

    def predict(self, network: Any, noisy_latents: Tensor, timesteps: Tensor, told: Conditioning) -> Tensor:
        """What the transformer says of a picture's places in a row, shape (B, 128, h, w)."""
        height, width = noisy_latents.shape[2:]
        hidden = told[HIDDEN].to(noisy_latents.dtype)
        prediction: Tensor = network(
            hidden_states=noisy_latents.flatten(2).transpose(1, 2),
            encoder_hidden_states=hidden,
            timestep=noise_share(timesteps).to(noisy_latents.dtype),
            img_ids=_places(1, height, width, 1, device=noisy_latents.device),
            txt_ids=_places(1, 1, 1, hidden.shape[1], device=noisy_latents.device),
            guidance=None,
            return_dict=False,
        )[0]
        return prediction.transpose(1, 2).reshape(len(noisy_latents), -1, height, width)

    def encode_pixels(self, vae: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest latents, (B, 128, H / 16, W / 16), by the VAE's own statistics; their deviation is 0.

        The transformer was trained on the likeliest ones, so that nothing is drawn around them.
        """
        mode = vae.encode(pixel_values.to(vae.device, vae.dtype)).latent_dist.mode()
        patches = torch.nn.functional.pixel_unshuffle(mode, PATCH)
        mean = vae.bn.running_mean.view(1, -1, 1, 1)
        deviation = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
        latents = (patches - mean) / deviation
        return latents, torch.zeros_like(latents[:, :, :1, :1])

    def vae_factor(self, settings: PartSettings) -> int:
        """16: the VAE's 8, twice."""
        return PATCH * int(2 ** (len(settings["vae"]["block_out_channels"]) - 1))

    def latent_channels(self, settings: PartSettings) -> int:
        """128: the VAE's 32 of each of four pixels."""
        return PATCH**2 * int(settings["vae"].get("latent_channels", 32))

    def size_multiple(self, settings: PartSettings) -> int:
        """16 px: any number of places makes a row."""
        return self.vae_factor(settings)


def _places(*sizes: int, device: torch.device) -> Tensor:
    """Numbers (time, row, column, token) of every place, shape (N, 4)."""
    return torch.cartesian_prod(*[torch.arange(size, device=device) for size in sizes])


FLUX2_KLEIN = Flux2Klein(
    name="flux2-klein",
    label="FLUX.2-klein",
    pipelines=("Flux2KleinPipeline",),
    denoiser="transformer",
    networks={
        "transformer": Flux2Transformer2DModel,
        "text_encoder": Qwen3ForCausalLM,
        "vae": AutoencoderKLFlux2,
    },
    text_encoders={"text_encoder": "tokenizer"},
    tokenizer=Qwen2TokenizerFast,
    targets={
        "attention": _ATTENTION,
        "attention+ff": _ATTENTION + _REST,
        "attention+ff+conv": _ATTENTION + _REST,
    },
    samplers=FLOW_SAMPLERS,
    lora=LoraNames(
        layers=LAYERS,
        native=NATIVE,
        version=("flux2_klein", "flux2_klein"),
        architecture=("flux.2-klein", "flux.2-klein"),
        native_px=(1024, 1024),
    ),
    learns_words=False,
    adapts_text=False,
    has_negative=False,
    has_refiner=False,
    holds_dora=False,
    heavy_text=True,
)
