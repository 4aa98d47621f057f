"""Stable Diffusion XL: two CLIPs side by side, pooled state, size and crop told, pictures of 1,024 px.

Illustrious, NoobAI and Pony are of this family. Source: Podell et al. 2023, "SDXL: Improving Latent Diffusion
Models for High-Resolution Image Synthesis", section 2.2 (size and crop).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from veneer.models.families.family import (
    Conditioning,
    CropView,
    Draw,
    LoraNames,
    Parts,
    PartSettings,
    SingleFile,
)
from veneer.models.families.sd import HIDDEN, clip_from_names
from veneer.models.families.unets import (
    UNET_LAYERS,
    UNET_SAMPLERS,
    UNET_TARGETS,
    UNetFamily,
    tokenize_prompt,
)
from veneer.models.quiet import quiet_libraries
from veneer.models.vocabulary import MAX_TOKENS

POOLED, SIZES = "text_embeds", "time_ids"
"""Names of the pooled state (B, D) and of sizes and crop (B, 6) among what the UNet is told."""
SDXL_SETTINGS = Path(str(resources.files("veneer") / "sdxl"))  # that checkpoints of the family go by
_FIRST_NAMES, _SECOND_NAMES = (
    "conditioner.embedders.0.transformer.text_model.",
    "conditioner.embedders.1.model.",
)
"""Beginnings of the text encoders' names in single files."""
VELOCITY_MARK, ZERO_SNR_MARK = "v_pred", "ztsnr"
"""Empty tensors by which a single file says that it predicts velocity, and has zero terminal SNR."""
LATENTS = 8
"""Both sides in latent pixels are multiples of it: the UNet needs 4, and knows multiples of 64 px."""
REFINER_WIDTH = 1280
"""Width of the text states that the refiner reads; the base reads 2,048."""


@dataclass(frozen=True)
class StableDiffusionXL(UNetFamily):
    """Stable Diffusion XL."""

    def is_folder(self, pipeline: str, denoiser: Mapping[str, Any]) -> bool:
        """Whether a folder is of this family: by its pipeline, or a UNet that is told sizes."""
        is_told_sizes = denoiser.get("addition_embed_type") == "text_time"
        return is_told_sizes and pipeline in self.pipelines

    def is_checkpoint(self, names: Sequence[str]) -> bool:
        """Whether a single file is of this family: by its text encoders."""
        return any(name.startswith("conditioner.embedders.") for name in names)

    def objective_of(self, names: Sequence[str], metadata: Mapping[str, str]) -> dict[str, Any]:
        """What a single file says of its objective: by marks among its tensors, or in its metadata."""
        said: dict[str, Any] = {}
        if VELOCITY_MARK in names or metadata.get("modelspec.prediction_type", "").startswith("v"):
            said["prediction_type"] = "v_prediction"
        if ZERO_SNR_MARK in names:
            said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return said

    def encode_prompts(self, parts: Parts, settings: PartSettings, prompts: Sequence[str]) -> Conditioning:
        """Penultimate states of both encoders side by side, (B, 77, 2048), and the second's pooled state.

        The empty prompt is zeros where the pipeline takes zeros for a missing negative prompt.
        """
        states: list[Tensor] = []
        pooled: Tensor | None = None
        for part, tokenizer in self.text_encoders.items():
            encoder = parts[part]
            ids = tokenize_prompt(parts[tokenizer], prompts).to(encoder.device)
            said = encoder(ids, output_hidden_states=True)
            states.append(said.hidden_states[-2])
            pooled = said[0]  # of the last: its pooled and projected state
        told = {HIDDEN: torch.cat(states, dim=-1), POOLED: pooled}
        kept = torch.tensor([prompt != "" or not _zeroes_empty(settings) for prompt in prompts])
        return {name: _where(kept, one) for name, one in told.items() if one is not None}

    def describe(self, view: CropView) -> Conditioning:
        """Size of the picture, corner of the crop, and size of the crop, each height first; shape (6,)."""
        (width, height), (left, top) = view.size, view.corner
        if view.mirrored:
            left = view.resized[0] - view.bucket[0] - left
        return {SIZES: torch.tensor([height, width, top, left, view.bucket[1], view.bucket[0]]).float()}

    def probe(self, settings: PartSettings, draw: Draw) -> Conditioning:
        """States, pooled state, and the sizes of a whole picture."""
        unet = settings["unet"]
        side = float(self.native_px(settings))
        pooled = unet["projection_class_embeddings_input_dim"] - 6 * unet["addition_time_embed_dim"]
        return {
            HIDDEN: draw((1, MAX_TOKENS, unet["cross_attention_dim"])),
            POOLED: draw((1, pooled)),
            SIZES: torch.tensor([[side, side, 0.0, 0.0, side, side]]),
        }

    def predict(self, network: Any, noisy_latents: Tensor, timesteps: Tensor, told: Conditioning) -> Tensor:
        """What the UNet says, shape (B, 4, h, w)."""
        dtype = noisy_latents.dtype
        added = {POOLED: told[POOLED].to(dtype), SIZES: told[SIZES]}
        prediction: Tensor = network(
            noisy_latents, timesteps, told[HIDDEN].to(dtype), added_cond_kwargs=added, return_dict=False
        )[0]
        return prediction

    def size_multiple(self, settings: PartSettings) -> int:
        """64 px, as in its training."""
        return LATENTS * self.vae_factor(settings)

    def pipeline(self, parts: Parts, settings: PartSettings, scheduler: Any) -> Any:
        """A `StableDiffusionXLPipeline` without watermark."""
        with quiet_libraries():  # about torchvision, which nothing here needs
            from diffusers import StableDiffusionXLPipeline

        return StableDiffusionXLPipeline(
            **{name: parts.get(name) for name in ("vae", *self.text_parts, "unet")},
            scheduler=scheduler,
            force_zeros_for_empty_prompt=_zeroes_empty(settings),
            add_watermarker=False,
        )

    def refiner(self, pipeline: Any) -> Any:
        """A `StableDiffusionXLImg2ImgPipeline` without watermark."""
        from diffusers import StableDiffusionXLImg2ImgPipeline

        zeroes = pipeline.config.force_zeros_for_empty_prompt
        return StableDiffusionXLImg2ImgPipeline(
            **pipeline.components, force_zeros_for_empty_prompt=zeroes, add_watermarker=False
        )

    def negative(self, prompt: str) -> str | None:
        """None for the empty one, which the pipeline then takes for zeros, as training does."""
        return prompt or None

    def checked_folder(self, settings: PartSettings) -> str | None:
        """Whether it is the refiner, which is no base."""
        refines = settings["pipeline"].get("requires_aesthetics_score")
        is_narrow = settings["unet"].get("cross_attention_dim") == REFINER_WIDTH
        return "the refiner of Stable Diffusion XL" if refines or is_narrow else None


def open_clip_from_names(weights: dict[str, Tensor], settings: Path, dtype: torch.dtype) -> Any:
    """A `CLIPTextModelWithProjection` from a single file's tensors under OpenCLIP's names.

    Args:
        settings: Folder of its `config.json`.

    Raises:
        RuntimeError: If tensors are missing or left over.
    """
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    with torch.device("meta"):
        module = CLIPTextModelWithProjection(
            CLIPTextModelWithProjection.config_class.from_pretrained(settings)
        )
    renamed = convert_open_clip_checkpoint(module, weights, prefix="")
    plain = {name: one.to(dtype) for name, one in renamed.items() if not name.endswith("position_ids")}
    module.load_state_dict(plain, strict=True, assign=True)
    positions = torch.arange(module.config.max_position_embeddings).expand((1, -1))
    module.text_model.embeddings.position_ids = positions  # a buffer that no file holds
    return module


def _zeroes_empty(settings: PartSettings) -> bool:
    return bool(settings["pipeline"].get("force_zeros_for_empty_prompt", True))


def _where(kept: Tensor, states: Tensor) -> Tensor:
    """States with zeros for the items that are not kept."""
    if bool(kept.all()):
        return states
    return states * kept.to(states.device, states.dtype).view(-1, *[1] * (states.ndim - 1))


SDXL = StableDiffusionXL(
    name="sdxl",
    label="Stable Diffusion XL",
    pipelines=("", "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
    networks={
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "vae": AutoencoderKL,
    },
    text_encoders={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    targets=UNET_TARGETS,
    samplers=UNET_SAMPLERS,
    lora=LoraNames(
        layers=UNET_LAYERS,
        width=2048,
        text={"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"},
        is_sgm=True,
        version=("sdxl_base_v1-0", "sdxl_base_v1-0"),
        architecture=("stable-diffusion-xl-v1-base", "stable-diffusion-xl-v1-base"),
        native_px=(1024, 1024),
    ),
    single_file=SingleFile(
        settings=SDXL_SETTINGS,
        prefixes={
            "unet": ("model.diffusion_model.",),
            "vae": ("first_stage_model.",),
            "text_encoder": (_FIRST_NAMES,),
            "text_encoder_2": (_SECOND_NAMES,),
        },
        loaders={"text_encoder": clip_from_names, "text_encoder_2": open_clip_from_names},
    ),
    trains_small=False,
)
