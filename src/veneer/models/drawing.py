"""Pictures from prompts and seeds, by a base model with or without an adapter.

Each picture has a generator of its own on the CPU, seeded by its seed alone: which pictures share a batch,
and in which order they are drawn, makes no difference, and plain diffusers code in float32 draws the same
picture. Noise is drawn in float32 whatever the precision: torch may draw other numbers in a lower one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from safetensors import SafetensorError, safe_open

from veneer.config import GenerateTable
from veneer.errors import AdapterError, BaseModelError
from veneer.events import Notice, OnEvent, ignore
from veneer.launch import hand_back_memory, is_out_of_memory, pick_device
from veneer.models.base import assemble, load_base
from veneer.models.embedding import read_embedding, wear_embedding
from veneer.seeds import torch_generator

STAGE, ADAPTER = "generate", "tuned"
MATRIX = re.compile(r"lora[._](A|B|up|down)\.weight$")
LOADED = (f"lora_A.{ADAPTER}.weight", f"lora_B.{ADAPTER}.weight")
REFINE_STRENGTH = 0.55
"""Share of the denoising that the second pass repeats on the enlarged picture."""
BATCH_PIXELS = 8 * 64 * 64
"""Pixels drawn together on a CPU."""
GPU_PIXELS = 4 * 512 * 512
"""Pixels drawn together on a GPU."""


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Attributes:
        prompt: Its prompt.
        seed: Its seed.
        image: RGB.
        is_broken: Whether the model gave no finite numbers; the picture is black then.
    """

    prompt: str
    seed: int
    image: Image.Image
    is_broken: bool


@dataclass(frozen=True)
class Easel:
    """A pipeline ready to draw.

    Attributes:
        pipeline: diffusers' `StableDiffusionPipeline`.
        native_px: Side of the pictures that the base was trained on.
        source: The base as it was asked for, such as "pocket".
        fingerprint: Name of exactly these base weights.
        table: Prompts are left aside: sampler, steps, guidance, sizes.
        side_px: Side of the pictures.
    """

    pipeline: Any
    native_px: int
    source: str
    fingerprint: str
    table: GenerateTable
    side_px: int

    @property
    def has_two_passes(self) -> bool:
        """Whether pictures are drawn at the base's own size first."""
        return self.table.two_pass and self.side_px > self.native_px

    @property
    def batch_size(self) -> int:
        """Pictures that are drawn together."""
        if self.pipeline.device.type != "cpu":
            return max(1, GPU_PIXELS // self.side_px**2)
        return max(1, min(16, BATCH_PIXELS // self.side_px**2))


def draw(
    base: str,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    lora: Path | None = None,
    scale: float = 1.0,
    embedding: Path | None = None,
    table: GenerateTable | None = None,
    vae: str | None = None,
    on_event: OnEvent = ignore,
) -> list[Image.Image]:
    """Draw every prompt with every seed.

    Args:
        base: Base model: hub name, local folder, `.safetensors` checkpoint, or `pocket`.
        prompts: Prompts.
        seeds: Seeds.
        lora: Adapter file in diffusers' or kohya's layout; None for the base alone.
        scale: Strength of the adapter, >= 0; 0 is the base.
        embedding: File of a learnt word (textual inversion); prompts call it by its name.
        table: Sampler, steps, guidance and size; the defaults draw at the base's own size.
        vae: VAE in place of the base's own.
        on_event: Listener for notices.

    Returns:
        RGB pictures, prompt by prompt, seed by seed within a prompt.

    Raises:
        AdapterError: If the adapter is damaged or made for another base.
        BaseModelError: If the base cannot be loaded, or draws no finite numbers.
    """
    easel = set_up(base, table or GenerateTable(), vae=vae, on_event=on_event)
    if lora is not None:
        wear(easel, lora, scale, on_event)
    if embedding is not None:
        wear_embedding(easel.pipeline, read_embedding(embedding), str(embedding))
    jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
    drawn = list(paint(easel, jobs, on_event))
    broken = [one for one in drawn if one.is_broken]
    if broken:
        what = f"{len(broken)} of {len(drawn)} pictures came out as no finite numbers"
        raise BaseModelError(what, where=str(lora or base), todo="Try a lower --scale, or another scheduler")
    return [one.image for one in drawn]


def set_up(
    base: str,
    table: GenerateTable,
    *,
    vae: str | None = None,
    revision: str | None = None,
    side_px: int | None = None,
    on_event: OnEvent = ignore,
) -> Easel:
    """Load a base model for drawing.

    Args:
        base: Base model.
        table: Sampler, steps, guidance and size.
        vae: VAE in place of the base's own.
        revision: Revision of the hub repository.
        side_px: Side of the pictures where the table names none; None for the base's own.
        on_event: Listener for notices.

    Returns:
        The easel, no adapter on it.

    Raises:
        BaseModelError: If the base cannot be loaded.
    """
    device = pick_device()
    dtype = drawing_dtype(device)
    loaded = load_base(base, vae=vae, revision=revision, dtype=dtype, device=device, on_event=on_event)
    if device.type == "cuda":  # the order of its quickest convolutions
        for part in (loaded.unet, loaded.vae):
            part.to(memory_format=torch.channels_last)
    pipeline = assemble(loaded, table.scheduler)
    side = table.resolution or side_px or loaded.native_px
    return Easel(pipeline, loaded.native_px, loaded.source, loaded.fingerprint, table, side)


def drawing_dtype(device: torch.device) -> torch.dtype:
    """Precision that pictures are drawn in.

    Args:
        device: Where they are drawn.

    Returns:
        float32 on the CPU; bfloat16, which no number is too large for, where a GPU has it; else float16.
    """
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def wear(easel: Easel, lora: Path, scale: float = 1.0, on_event: OnEvent = ignore) -> None:
    """Put an adapter on, in place of the one before; the base's weights stay as they are.

    Args:
        easel: The easel.
        lora: Adapter file in diffusers' or kohya's layout.
        scale: Strength, >= 0.
        on_event: Told where the base had other weights when the adapter was trained.

    Raises:
        AdapterError: If the file is missing, damaged, or made for another base.
    """
    wanted = _count_matrices(lora)
    take_off(easel)
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)  # it warns of each part that a LoRA leaves alone
    try:
        easel.pipeline.load_lora_weights(str(lora), adapter_name=ADAPTER)
    except (ValueError, RuntimeError, KeyError) as error:
        raise _misfit(easel, lora, " ".join(str(error).split())[:200]) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
    loaded = sum(_count_loaded(part) for part in (easel.pipeline.unet, easel.pipeline.text_encoder))
    if loaded != wanted:
        raise _misfit(easel, lora, f"{loaded} of {wanted} matrices found their layer")
    easel.pipeline.set_adapters([ADAPTER], [scale])
    if _was_trained_on_other_weights(easel, lora):
        what = f"{lora.name} was trained on other weights of {easel.source} than these, and may not fit them"
        on_event(Notice(STAGE, "other-weights", what))


def _misfit(easel: Easel, lora: Path, reason: str) -> AdapterError:
    """Take an adapter off that does not fit, and say why."""
    take_off(easel)
    if _was_trained_on_other_weights(easel, lora):
        what = f"the adapter was trained on other weights of {easel.source}, whose layers have other sizes"
        todo = "Train it again on these weights, or go back to the version of Veneer that it came from"
        return AdapterError(what, where=str(lora), todo=todo)
    todo = "Name the base that it was trained on"
    return AdapterError(f"the adapter does not fit this base: {reason}", where=str(lora), todo=todo)


def take_off(easel: Easel) -> None:
    """Take the adapter off: the base draws as if there had been none.

    Args:
        easel: The easel.
    """
    easel.pipeline.unload_lora_weights()


def paint(easel: Easel, jobs: Iterable[tuple[str, int]], on_event: OnEvent = ignore) -> Iterator[Drawn]:
    """Draw pictures one batch after another; where memory gives out, in batches of half the size.

    Args:
        easel: The easel.
        jobs: Prompts, each with its seed.
        on_event: Told of smaller batches.

    Yields:
        The pictures, in the same order.

    Raises:
        RuntimeError: If memory does not suffice for one picture.
    """
    todo, size = list(jobs), easel.batch_size
    while todo:
        size = min(size, len(todo))
        pixels = _pixels(easel, todo[:size])
        if pixels is None:
            too_many, size = size, size // 2
            hand_back_memory()
            message = f"not enough memory for {too_many} pictures at once: {size} are drawn together now"
            on_event(Notice(STAGE, "smaller-batches", message))
            continue
        for (prompt, seed), one in zip(todo[:size], pixels, strict=True):
            is_broken = not bool(np.isfinite(one).all())
            yield Drawn(prompt, seed, _picture(np.zeros_like(one) if is_broken else one), is_broken)
        del todo[:size]


def _pixels(easel: Easel, batch: Sequence[tuple[str, int]]) -> np.ndarray[Any, Any] | None:
    """Pixels (B, H, W, 3) in [0, 1]; None where memory does not suffice, and would for fewer pictures."""
    try:
        return _refined(easel, batch) if easel.has_two_passes else _first_pass(easel, batch, easel.side_px)
    except RuntimeError as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
        return None  # the error goes first, and what the failed pass holds with it


def _first_pass(easel: Easel, batch: Sequence[tuple[str, int]], side_px: int) -> np.ndarray[Any, Any]:
    """Pixels (B, H, W, 3) in [0, 1]."""
    generators = [torch.Generator("cpu").manual_seed(seed) for _, seed in batch]
    result = easel.pipeline(
        prompt=[prompt for prompt, _ in batch],
        negative_prompt=[easel.table.negative_prompt] * len(batch),
        num_inference_steps=easel.table.num_inference_steps,
        guidance_scale=easel.table.guidance_scale,
        height=side_px,
        width=side_px,
        generator=generators,
        latents=_noise(easel.pipeline, side_px, generators),
        output_type="np",
    )
    return np.asarray(result.images)


def _noise(pipeline: Any, side_px: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Standard normal latents (B, C, h, w), in the UNet's precision and on its device."""
    unet, side = pipeline.unet, side_px // pipeline.vae_scale_factor
    shape = (1, unet.config.in_channels, side, side)
    noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    return noise.to(unet.device, unet.dtype)


def _refined(easel: Easel, batch: Sequence[tuple[str, int]]) -> np.ndarray[Any, Any]:
    """Pixels (B, H, W, 3) in [0, 1]: composed at the base's own size, then enlarged and refined."""
    from diffusers import StableDiffusionImg2ImgPipeline

    size = (easel.side_px, easel.side_px)
    small = np.nan_to_num(_first_pass(easel, batch, easel.native_px))
    large = [_picture(one).resize(size, Image.Resampling.LANCZOS) for one in small]
    refiner = StableDiffusionImg2ImgPipeline(**easel.pipeline.components, requires_safety_checker=False)
    refiner.set_progress_bar_config(disable=True)
    result = refiner(
        prompt=[prompt for prompt, _ in batch],
        image=large,
        strength=REFINE_STRENGTH,
        negative_prompt=[easel.table.negative_prompt] * len(batch),
        num_inference_steps=easel.table.num_inference_steps,
        guidance_scale=easel.table.guidance_scale,
        generator=[torch_generator(seed, "refine") for _, seed in batch],
        output_type="np",
    )
    return np.asarray(result.images)


def _picture(pixels: np.ndarray[Any, Any]) -> Image.Image:
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def _count_matrices(lora: Path) -> int:
    if not lora.is_file():
        raise AdapterError("no such adapter", where=str(lora))
    try:
        with safe_open(lora, "pt") as file:
            num_matrices = sum(MATRIX.search(name) is not None for name in file.keys())  # noqa: SIM118
    except SafetensorError as error:
        todo = "Export it again; pickled adapters are not loaded"
        raise AdapterError(f"not a safetensors file: {error}", where=str(lora), todo=todo) from error
    if num_matrices == 0:
        raise AdapterError("the file holds no LoRA", where=str(lora), todo="Name a LoRA file")
    return num_matrices


def _was_trained_on_other_weights(easel: Easel, lora: Path) -> bool:
    """Whether it is of an older or newer version of this base; a file that Veneer made knows."""
    with safe_open(lora, "pt") as file:
        known = file.metadata() or {}
    source, trained_on = known.get("veneer.base"), known.get("veneer.base_fingerprint", "")
    own, learnt = (name.partition("+")[0] for name in (easel.fingerprint, trained_on))  # "+": another VAE
    return source == easel.source and bool(learnt and own) and own != learnt


def _count_loaded(module: Any) -> int:
    return sum(name.endswith(LOADED) for name, _ in module.named_parameters())
