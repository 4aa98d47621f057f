"""Stable Diffusion 1.x and 2.x: one CLIP of 77 tokens, pictures of 512 or 768 px, 4 channels at an eighth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from veneer.models.families.family import Conditioning, Draw, LoraNames, Parts, PartSettings, SingleFile
from veneer.models.families.unets import (
    UNET_LAYERS,
    UNET_SAMPLERS,
    UNET_TARGETS,
    UNetFamily,
    tokenize_prompt,
)
from veneer.models.quiet import quiet_libraries
from veneer.models.vocabulary import MAX_TOKENS

HIDDEN = "encoder_hidden_states"
SD1_SETTINGS = Path(str(resources.files("veneer") / "sd1"))  # that checkpoints of Stable Diffusion 1.x go by
_FIRST_NAMES, _SECOND_NAMES = "cond_stage_model.transformer.", "cond_stage_model.model."
"""Beginnings of the text encoder's names in single files of 1.x and 2.x."""


@dataclass(frozen=True)
class StableDiffusion(UNetFamily):
    """Stable Diffusion 1.x or 2.x.

    Attributes:
        is_second: Whether it is 2.x.
    """

    is_second: bool = False

    def is_folder(self, pipeline: str, denoiser: Mapping[str, Any]) -> bool:
        """Whether a folder is of 1.x or of 2.x: by the width of what cross-attention reads."""
        wide = denoiser.get("cross_attention_dim") == 1024 or bool(denoiser.get("use_linear_projection"))
        is_told_sizes = denoiser.get("addition_embed_type") == "text_time"
        return pipeline in self.pipelines and wide == self.is_second and not is_told_sizes

    def is_checkpoint(self, names: Sequence[str]) -> bool:
        """Whether a single file is of 1.x or of 2.x: by its text encoder."""
        mark = _SECOND_NAMES if self.is_second else _FIRST_NAMES
        return any(mark in name for name in names)

    def encode_prompts(self, parts: Parts, settings: PartSettings, prompts: Sequence[str]) -> Conditioning:
        """Encoder hidden states, shape (B, 77, D); D is 768 in 1.x."""
        ids = tokenize_prompt(parts["tokenizer"], prompts)
        return {HIDDEN: encode_tokens(parts["text_encoder"], ids)}

    def probe(self, settings: PartSettings, draw: Draw) -> Conditioning:
        """Encoder hidden states, shape (1, 77, D)."""
        return {HIDDEN: draw((1, MAX_TOKENS, settings["unet"]["cross_attention_dim"]))}

    def predict(self, network: Any, noisy_latents: Tensor, timesteps: Tensor, told: Conditioning) -> Tensor:
        """What the UNet says, shape (B, 4, h, w)."""
        hidden = told[HIDDEN].to(noisy_latents.dtype)
        prediction: Tensor = network(noisy_latents, timesteps, hidden, return_dict=False)[0]
        return prediction

    def size_multiple(self, settings: PartSettings) -> int:
        """64 px: the UNet halves latents three times."""
        return self.vae_factor(settings) * int(2 ** (len(settings["unet"]["block_out_channels"]) - 1))

    def pipeline(self, parts: Parts, settings: PartSettings, scheduler: Any) -> Any:
        """A `StableDiffusionPipeline` without what looks for nudity."""
        with quiet_libraries():  # about torchvision, which nothing here needs
            from diffusers import StableDiffusionPipeline

        return StableDiffusionPipeline(
            **{name: parts.get(name) for name in ("vae", "text_encoder", "tokenizer", "unet")},
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def refiner(self, pipeline: Any) -> Any:
        """A `StableDiffusionImg2ImgPipeline`."""
        from diffusers import StableDiffusionImg2ImgPipeline

        return StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)


def encode_tokens(text_encoder: Any, input_ids: Tensor) -> Tensor:
    """Turn token numbers into what the UNet attends to.

    Args:
        text_encoder: The base's text encoder.
        input_ids: Input ids, shape (B, L).

    Returns:
        Encoder hidden states, shape (B, L, D), in the text encoder's precision; D is 768 in SD 1.x.
    """
    hidden: Tensor = text_encoder(input_ids.to(text_encoder.device), return_dict=False)[0]
    return hidden


def clip_from_names(weights: dict[str, Tensor], settings: Path, dtype: torch.dtype) -> Any:
    """A `CLIPTextModel` from a single file's tensors under its own names.

    Args:
        settings: Folder of its `config.json`.

    Raises:
        RuntimeError: If tensors are missing or left over.
    """
    with torch.device("meta"):
        module = CLIPTextModel(CLIPTextConfig.from_pretrained(str(settings)))
    weights = {
        name: tensor.to(dtype) for name, tensor in weights.items() if not name.endswith("position_ids")
    }
    module.load_state_dict(weights, strict=True, assign=True)
    positions = torch.arange(module.config.max_position_embeddings).expand((1, -1))
    module.embeddings.position_ids = positions  # a buffer that no file holds
    return module


_PIPELINES = ("", "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
_NETWORKS = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel, "vae": AutoencoderKL}
_KOHYA_TEXT = {"text_encoder": "lora_te_"}

SD1 = StableDiffusion(
    name="sd1",
    label="Stable Diffusion 1.x",
    pipelines=_PIPELINES,
    networks=_NETWORKS,
    text_encoders={"text_encoder": "tokenizer"},
    targets=UNET_TARGETS,
    samplers=UNET_SAMPLERS,
    lora=LoraNames(
        layers=UNET_LAYERS,
        width=768,
        text=_KOHYA_TEXT,
        is_sgm=False,
        version=("sd_v1", "sd_v1"),
        architecture=("stable-diffusion-v1", "stable-diffusion-v1"),
        native_px=(512, 768),
    ),
    single_file=SingleFile(
        settings=SD1_SETTINGS,
        prefixes={
            "unet": ("model.diffusion_model.",),
            "vae": ("first_stage_model.",),
            "text_encoder": ("cond_stage_model.transformer.text_model.", _FIRST_NAMES),
        },
        loaders={"text_encoder": clip_from_names},
    ),
)
SD2 = StableDiffusion(
    name="sd2",
    label="Stable Diffusion 2.x",
    pipelines=_PIPELINES,
    networks=_NETWORKS,
    text_encoders={"text_encoder": "tokenizer"},
    targets=UNET_TARGETS,
    samplers=UNET_SAMPLERS,
    lora=LoraNames(
        layers=UNET_LAYERS,
        width=1024,
        text=_KOHYA_TEXT,
        is_sgm=False,
        version=("sd_v2", "sd_v2_v"),
        architecture=("stable-diffusion-v2-512", "stable-diffusion-v2-768-v"),
        native_px=(512, 768),
    ),
    is_second=True,
)
