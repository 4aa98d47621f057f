"""A base model: tokenizer, text encoder, VAE, UNet and scheduler, frozen, straight in their final precision.

Words used here: *pixel values* are (B, 3, H, W) in [-1, 1]; *latents* are (B, 4, h, w), already multiplied by
the VAE's scaling factor; *input ids* are (B, L) token numbers with L = 77.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from transformers.utils import logging as transformers_logging

from veneer.errors import BaseModelError
from veneer.events import OnEvent, ignore
from veneer.models.families import Family, family_of_checkpoint, family_of_folder, read_json
from veneer.models.modelfiles import ModelFiles, find_model, identity_of_files
from veneer.models.parts import SD1, load_module, load_tokenizer, vae_folder
from veneer.models.quiet import quiet_libraries

PARTS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")


@dataclass(frozen=True)
class Base:
    """A base model in memory; parts that were not asked for are none.

    Attributes:
        source: Hub name, path or `pocket`.
        family: Stable Diffusion 1.x or 2.x.
        tokenizer: The `CLIPTokenizer`.
        text_encoder: The `CLIPTextModel`, frozen.
        vae: The `AutoencoderKL`, frozen.
        unet: The `UNet2DConditionModel`, frozen.
        scheduler: The noise schedule of training, a `DDPMScheduler`.
        settings: Settings of each part by its name, read whether the part is loaded or not.
        files: Where the model's files are.
        vae_files: Where the files of a VAE in place of its own are.
    """

    source: str
    family: Family
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any
    settings: dict[str, dict[str, Any]] = field(repr=False)
    files: ModelFiles = field(repr=False)
    vae_files: ModelFiles | None = field(default=None, repr=False)

    @property
    def vae_factor(self) -> int:
        """Pixels per latent along one side; 8 in Stable Diffusion."""
        return int(2 ** (len(self.settings["vae"]["block_out_channels"]) - 1))

    @property
    def native_px(self) -> int:
        """Side of the square pictures that the base was trained on, in pixels."""
        return int(self.settings["unet"]["sample_size"]) * self.vae_factor

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts: "epsilon" or "v_prediction"."""
        return str(self.settings["scheduler"].get("prediction_type", "epsilon"))

    @cached_property
    def fingerprint(self) -> str:
        """Name of exactly these weights: a hash of their files, or a hub repository with its commit."""
        own = identity_of_files(self.files, ("unet", "text_encoder", "vae"))
        return own if self.vae_files is None else f"{own}+{identity_of_files(self.vae_files, ('.', 'vae'))}"


def load_base(
    model: str,
    *,
    vae: str | None = None,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    parts: Collection[str] = PARTS,
    on_event: OnEvent = ignore,
) -> Base:
    """Load a base model, or some of its parts.

    Args:
        model: Hub name, local folder in Hugging Face layout, `.safetensors` checkpoint, or `pocket`.
        vae: VAE in place of the base's own: hub name, folder or `.safetensors` file.
        dtype: Precision of the weights; each is read straight into it.
        device: Where the weights go.
        parts: Which of tokenizer, text_encoder, vae, unet and scheduler to load.
        on_event: Listener for notices, such as a hub name that has changed.

    Returns:
        The base, every weight frozen, every module in evaluation mode.

    Raises:
        BaseModelError: If the model is missing, damaged, pickled or of another family.
    """
    transformers_logging.disable_progress_bar()
    own = [part for part in parts if part != "vae" or vae is None]
    files = find_model(model, revision=revision, parts=own, on_event=on_event)
    family = family_of_folder(files.path) if files.kind == "folder" else family_of_checkpoint(files.path)
    vae_files = None if vae is None else find_model(vae, parts=(".", "vae"))
    settings = _settings(files, vae_files)
    loaded: dict[str, Any] = dict.fromkeys(PARTS)
    for part in parts:
        match part:
            case "scheduler":
                loaded[part] = DDPMScheduler.from_config(settings["scheduler"])
            case "tokenizer":
                loaded[part] = load_tokenizer(files)
            case _:
                source = vae_files if part == "vae" and vae_files else files
                loaded[part] = load_module(part, source, dtype).to(device)
    base = Base(files.source, family, **loaded, settings=settings, files=files, vae_files=vae_files)
    _check_fit(base)
    return base


def assemble(base: Base, scheduler: str) -> Any:
    """Put the parts of a base together as a diffusers pipeline; nothing is copied.

    Args:
        scheduler: Sampler: "ddim", "dpmsolver", "euler", "pndm" or "ddpm".

    Returns:
        A `StableDiffusionPipeline` on the base's own modules.

    Raises:
        BaseModelError: If the sampler is unknown.
    """
    with quiet_libraries():  # about torchvision, which nothing here needs
        from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        scheduler=build_scheduler(scheduler, base.settings["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def build_scheduler(name: str, config: Any) -> Any:
    """Build a sampler on a base's noise schedule.

    Args:
        name: "ddim", "dpmsolver", "euler", "pndm" or "ddpm"; "own" for the one that the base comes with.
        config: Settings of the base's scheduler, of any class.

    Returns:
        A diffusers scheduler.

    Raises:
        BaseModelError: If the sampler is unknown.
    """
    import diffusers

    match name:
        case "ddim":
            return diffusers.DDIMScheduler.from_config(config)
        case "dpmsolver":
            return diffusers.DPMSolverMultistepScheduler.from_config(config)
        case "euler":
            return diffusers.EulerDiscreteScheduler.from_config(config)
        case "pndm":
            return diffusers.PNDMScheduler.from_config(config)
        case "ddpm":
            return DDPMScheduler.from_config(config)
        case "own":
            return getattr(diffusers, config.get("_class_name", "PNDMScheduler")).from_config(config)
        case _:
            todo = "Take ddim, dpmsolver, euler, pndm or ddpm"
            raise BaseModelError("unknown sampler", where=name, todo=todo)


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


def token_count(tokenizer: Any, prompt: str) -> int:
    """Count the tokens of a prompt before it is cut.

    Returns:
        Number of tokens, the marks of beginning and end included; above `model_max_length` the end is lost.
    """
    return len(tokenizer(prompt, truncation=False, verbose=False).input_ids)


def encode_prompt(text_encoder: Any, input_ids: Tensor) -> Tensor:
    """Turn token numbers into what the UNet attends to.

    Args:
        text_encoder: The base's text encoder.
        input_ids: Input ids, shape (B, L).

    Returns:
        Encoder hidden states, shape (B, L, D), in the text encoder's precision; D is 768 in SD 1.x.
    """
    hidden: Tensor = text_encoder(input_ids.to(text_encoder.device), return_dict=False)[0]
    return hidden


def encode_pixels(vae: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Encode pictures into the distribution of their latents.

    Args:
        vae: The base's VAE.
        pixel_values: Pictures, shape (B, 3, H, W), in [-1, 1].

    Returns:
        Mean and standard deviation, each (B, 4, H / factor, W / factor), already scaled: a sample is
        ``mean + std * noise``.

    Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1.
    """
    posterior = vae.encode(pixel_values.to(vae.device, vae.dtype)).latent_dist
    scale = vae.config.scaling_factor
    return posterior.mean * scale, posterior.std * scale


def _settings(files: ModelFiles, vae_files: ModelFiles | None) -> dict[str, dict[str, Any]]:
    root = SD1 if files.kind == "checkpoint" else files.path
    vae = root / "vae" if vae_files is None else vae_folder(vae_files)
    return {
        "unet": read_json(root / "unet" / "config.json"),
        "text_encoder": read_json(root / "text_encoder" / "config.json"),
        "vae": read_json(vae / "config.json"),
        "scheduler": read_json(root / "scheduler" / "scheduler_config.json"),
    }


def _check_fit(base: Base) -> None:
    latent, unet = base.settings["vae"].get("latent_channels", 4), base.settings["unet"].get("in_channels", 4)
    if latent != unet:
        source = base.source if base.vae_files is None else base.vae_files.source
        raise BaseModelError(
            f"the VAE has {latent} latent channels, the UNet takes {unet}",
            where=source,
            todo="Take a VAE of Stable Diffusion 1.x, such as stabilityai/sd-vae-ft-mse",
        )
