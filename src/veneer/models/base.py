"""A base model: its networks, tokenizers and scheduler, frozen, straight in their final precision.

Words used here: *pixel values* are (B, 3, H, W) in [-1, 1]; *latents* are (B, C, h, w), already multiplied by
the VAE's scaling factor. What differs from family to family is in `veneer.models.families`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from veneer.config import BaseTable
from veneer.errors import BaseModelError
from veneer.events import OnEvent, ignore
from veneer.models.families import (
    Conditioning,
    Family,
    family_of_checkpoint,
    family_of_folder,
    family_of_network,
    objective_of_checkpoint,
)
from veneer.models.families.paths import NoisePath
from veneer.models.families.strangers import refuse_name
from veneer.models.modelfiles import ModelFiles, find_model, identity_of_files, looks_like_path, read_json
from veneer.models.parts import load_module, load_tokenizer, single_file, vae_folder
from veneer.models.quiet import hide_progress_bars

KINDS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
"""Kinds of parts; a family may have several of one."""


@dataclass(frozen=True)
class Base:
    """A base model in memory.

    Attributes:
        source: Hub name, path or `pocket`.
        family: What it is, and all that differs by it.
        parts: Networks, tokenizers and scheduler by name, frozen; those that were not asked for are missing.
        settings: Settings of each part by its name, read whether the part is loaded or not.
        files: Where the model's files are.
        vae_files: Where the files of a VAE in place of its own are.
    """

    source: str
    family: Family
    parts: Mapping[str, Any]
    settings: dict[str, dict[str, Any]] = field(repr=False)
    files: ModelFiles = field(repr=False)
    vae_files: ModelFiles | None = field(default=None, repr=False)

    @property
    def tokenizer(self) -> Any:
        """The first tokenizer, or None."""
        return self.parts.get(self.family.tokenizers[0])

    @property
    def text_encoder(self) -> Any:
        """The first text encoder, or None."""
        return self.parts.get(next(iter(self.family.text_encoders)))

    @property
    def text_encoders(self) -> dict[str, Any]:
        """The text encoders that are loaded, by part."""
        return {part: self.parts[part] for part in self.family.text_encoders if part in self.parts}

    @property
    def vae(self) -> Any:
        """What turns pictures into latents and back, or None."""
        return self.parts.get("vae")

    @property
    def unet(self) -> Any:
        """The network that predicts and gets the adapter, or None."""
        return self.parts.get(self.family.denoiser)

    @property
    def scheduler(self) -> Any:
        """The noise schedule of training, or None."""
        return self.parts.get("scheduler")

    @property
    def networks(self) -> dict[str, Any]:
        """What an adapter may be put on and is loaded: "unet", whatever predicts, and the text encoders."""
        own = {"unet": self.unet} if self.unet is not None else {}
        return own | self.text_encoders

    @property
    def path(self) -> NoisePath:
        """How it mixes pictures with noise."""
        return self.family.path(self.settings)

    @property
    def vae_factor(self) -> int:
        """Pixels per latent along one side; 8 in Stable Diffusion."""
        return self.family.vae_factor(self.settings)

    @property
    def native_px(self) -> int:
        """Side of the square pictures that the base was trained on, in pixels."""
        return self.family.native_px(self.settings)

    @property
    def size_multiple(self) -> int:
        """What both sides of a picture must be multiples of, in pixels."""
        return self.family.size_multiple(self.settings)

    @property
    def prediction_type(self) -> str:
        """What it predicts: "epsilon", "v_prediction", or "flow" of flow-matching bases."""
        return self.path.prediction_type

    @cached_property
    def fingerprint(self) -> str:
        """Name of exactly these weights: a hash of their files, or a hub repository with its commit."""
        own = identity_of_files(self.files, self.family.networks)
        return own if self.vae_files is None else f"{own}+{identity_of_files(self.vae_files, ('.', 'vae'))}"

    def with_parts(self, parts: Mapping[str, Any]) -> Base:
        """The same base with some parts in the place of its own."""
        return replace(self, parts={**self.parts, **parts})


def load_base(
    model: str,
    *,
    vae: str | None = None,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    parts: Collection[str] = KINDS,
    objective: Mapping[str, Any] | None = None,
    on_event: OnEvent = ignore,
) -> Base:
    """Load a base model, or some of its parts.

    Args:
        model: Hub name, local folder in Hugging Face layout, `.safetensors` checkpoint, or `pocket`.
        vae: VAE in place of the base's own: hub name, folder or `.safetensors` file.
        dtype: Precision of the weights; each is read straight into it.
        device: Where the weights go.
        parts: Which kinds of parts to load: tokenizer, text_encoder, vae, unet, scheduler.
        objective: Settings of the scheduler in place of the base's own, such as its `prediction_type`.
        on_event: Listener for notices, such as a hub name that has changed.

    Returns:
        The base, every weight frozen, every module in evaluation mode.

    Raises:
        BaseModelError: If the model is missing, damaged, pickled or of another family.
    """
    hide_progress_bars()
    files, family = _recognised(model, revision, on_event)
    own = [part for part in family.parts_of(tuple(parts)) if part != "vae" or vae is None]
    if own and files.commit:  # of the hub, whose weights are not here yet
        files = find_model(model, revision=revision, parts=own)
    vae_files = None if vae is None else find_model(vae, parts=(".", "vae"))
    settings = _settings(files, vae_files, family)
    settings["scheduler"] |= objective or {}
    loaded = {}
    for part in family.parts_of(tuple(parts)):
        source = vae_files if part == "vae" and vae_files else files
        loaded[part] = _load(part, source, family, settings, dtype=dtype, device=device)
    base = Base(files.source, family, loaded, settings=settings, files=files, vae_files=vae_files)
    _check_fit(base)
    return base


def load_base_of(
    table: BaseTable,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    parts: Collection[str] = KINDS,
    on_event: OnEvent = ignore,
) -> Base:
    """Load a recipe's base as `load_base` does.

    Args:
        table: Names it, its revision and VAE, and what it predicts where its files do not say it.

    Raises:
        BaseModelError: If it cannot be loaded.
    """
    return load_base(
        table.model,
        vae=table.vae,
        revision=table.revision,
        dtype=dtype,
        device=device,
        parts=parts,
        objective=objective_by(table),
        on_event=on_event,
    )


def objective_by(table: BaseTable) -> dict[str, Any]:
    """What a recipe says of its base's objective, as settings of a scheduler; nothing where it says none."""
    match table.prediction:
        case None:
            return {}
        case "v_prediction_zero_snr":
            zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
            return {"prediction_type": "v_prediction", **zero}
        case prediction:
            return {"prediction_type": prediction, "rescale_betas_zero_snr": False}


def _recognised(model: str, revision: str | None, on_event: OnEvent) -> tuple[ModelFiles, Family]:
    """Where a model is and what family it is of, by its settings alone: no weights are fetched."""
    if not Path(model).expanduser().exists() and not looks_like_path(model):
        refuse_name(model)
    files = find_model(model, revision=revision, on_event=on_event)
    if files.kind == "checkpoint":
        return files, family_of_checkpoint(files.path)
    return files, family_of_folder(files.path)


def _load(
    part: str,
    files: ModelFiles,
    family: Family,
    settings: Mapping[str, dict[str, Any]],
    *,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Any:
    if part == "scheduler":
        return family.training_scheduler(settings)
    if part in family.tokenizers:
        return load_tokenizer(part, files, family)
    return load_module(part, files, dtype, family).to(device)


def assemble(base: Base, scheduler: str) -> Any:
    """Put the parts of a base together as a diffusers pipeline; nothing is copied.

    Args:
        scheduler: Sampler: one of the family's, such as "ddim"; "own" for the one that the base comes with.

    Returns:
        The family's pipeline on the base's own modules.

    Raises:
        BaseModelError: If the sampler is none of the family's.
    """
    own = build_scheduler(scheduler, base.settings["scheduler"], base.family)
    pipeline = base.family.pipeline(base.parts, base.settings, own)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def build_scheduler(name: str, config: Any, family: Family) -> Any:
    """Build a sampler on a base's noise schedule.

    Args:
        name: One of the family's samplers; "own" for the one that the base comes with.
        config: Settings of the base's scheduler, of any class.

    Returns:
        A diffusers scheduler.

    Raises:
        BaseModelError: If the sampler is none of the family's.
    """
    import diffusers

    if name == "own":
        return getattr(diffusers, config.get("_class_name", "PNDMScheduler")).from_config(config)
    if name not in family.samplers:
        todo = f"Take {' or '.join(family.samplers)} with generate.scheduler"
        raise BaseModelError(f"no sampler of {family.label}", where=name, todo=todo)
    return getattr(diffusers, family.samplers[name]).from_config(config)


def token_count(tokenizer: Any, prompt: str) -> int:
    """Count the tokens of a prompt before it is cut.

    Returns:
        Number of tokens, the marks of beginning and end included; above `model_max_length` the end is lost.
    """
    return len(tokenizer(prompt, truncation=False, verbose=False).input_ids)


def encode_prompts(base: Base, prompts: Sequence[str]) -> Conditioning:
    """What the network is told of prompts.

    Args:
        base: A base with its tokenizers and text encoders.
        prompts: B prompts.

    Returns:
        Tensors by name, each (B, ...), such as encoder_hidden_states (B, L, D).
    """
    return base.family.encode_prompts(base.parts, base.settings, prompts)


def encode_pixels(vae: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Encode pictures into the distribution of their latents.

    Args:
        vae: The base's VAE.
        pixel_values: Pictures, shape (B, 3, H, W), in [-1, 1].

    Returns:
        Mean (B, C, h, w) and a standard deviation that spreads to that shape, already scaled: a sample is
        ``mean + std * noise``.

    Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1.
    """
    return family_of_network(vae).encode_pixels(vae, pixel_values)


def _settings(files: ModelFiles, vae_files: ModelFiles | None, family: Family) -> dict[str, dict[str, Any]]:
    root = single_file(family, files).settings if files.kind == "checkpoint" else files.path
    vae = root / "vae" if vae_files is None else vae_folder(vae_files, family)
    own = {part: read_json(root / part / "config.json") for part in family.networks if part != "vae"}
    scheduler = read_json(root / "scheduler" / "scheduler_config.json")
    if files.kind == "checkpoint":
        scheduler |= objective_of_checkpoint(files.path, family)
    index = root / "model_index.json"
    return {
        **own,
        "vae": read_json(vae / "config.json"),
        "scheduler": scheduler,
        "pipeline": read_json(index) if index.is_file() else {},
    }


def _check_fit(base: Base) -> None:
    latent = base.family.latent_channels(base.settings)
    wanted = base.settings[base.family.denoiser].get("in_channels", latent)
    if latent != wanted:
        source = base.source if base.vae_files is None else base.vae_files.source
        raise BaseModelError(
            f"the VAE gives {latent} latent channels, the base takes {wanted}",
            where=source,
            todo=f"Take a VAE of {base.family.label}, or leave base.vae out",
        )
