"""Pictures from prompts and seeds, by a base model with or without an adapter.

Each picture has a generator of its own on the CPU, seeded by its seed alone: plain diffusers code in float32
draws the same picture. Sums are rounded in another order where other pictures share a batch, so that a level
of 255 may differ: who draws again draws the same batches. Noise is drawn in float32 whatever the precision:
torch may draw other numbers in a lower one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from veneer.config import GenerateTable
from veneer.events import Notice, OnEvent, ignore
from veneer.machine import hand_back_memory, is_out_of_memory, pick_device
from veneer.models.base import assemble, load_base
from veneer.models.families import Family
from veneer.seeds import torch_generator

_T = TypeVar("_T")
STAGE = "generate"
REFINE_STRENGTH = 0.55
"""Share of the denoising that the second pass repeats on the enlarged picture."""
BATCH_PIXELS = 8 * 64 * 64
"""Pixels drawn together on a CPU."""
GPU_PIXELS = 4 * 512 * 512
"""Pixels drawn together on a GPU."""


@dataclass(frozen=True)
class Sample:
    """A picture.

    Attributes:
        image: RGB.
        is_broken: Whether the model gave no finite numbers; the picture is black then.
    """

    prompt: str
    seed: int
    image: Image.Image
    is_broken: bool


@dataclass(frozen=True)
class Sampler:
    """A pipeline ready to draw.

    Attributes:
        family: Of the base.
        pipeline: diffusers' pipeline of the family.
        native_px: Side of the pictures that the base was trained on.
        source: The base as it was asked for, such as "pocket".
        fingerprint: Name of exactly these base weights.
        table: Prompts are left aside: sampler, steps, guidance, sizes.
    """

    family: Family
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


def load_sampler(
    base: str,
    generate: GenerateTable,
    *,
    vae: str | None = None,
    revision: str | None = None,
    side_px: int | None = None,
    objective: Mapping[str, Any] | None = None,
    on_event: OnEvent = ignore,
) -> Sampler:
    """Load a base model for drawing.

    Args:
        vae: VAE in place of the base's own.
        side_px: Side of the pictures where the table names none; None for the base's own.
        objective: Settings of the scheduler in place of the base's own.

    Returns:
        The sampler, no adapter on it.

    Raises:
        BaseModelError: If the base cannot be loaded.
    """
    device = pick_device()
    dtype = drawing_dtype(device)
    loaded = load_base(
        base,
        vae=vae,
        revision=revision,
        dtype=dtype,
        device=device,
        objective=objective,
        on_event=on_event,
    )
    if device.type == "cuda":  # the order of its quickest convolutions
        for part in (loaded.unet, loaded.vae):
            part.to(memory_format=torch.channels_last)
    pipeline = assemble(loaded, generate.scheduler)
    side = generate.resolution or side_px or loaded.native_px
    return Sampler(
        loaded.family, pipeline, loaded.native_px, loaded.source, loaded.fingerprint, generate, side
    )


def drawing_dtype(device: torch.device) -> torch.dtype:
    """Precision that pictures are drawn in.

    Returns:
        float32 on the CPU; bfloat16, which no number is too large for, where a GPU has it; else float16.
    """
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def sample(sampler: Sampler, jobs: Iterable[tuple[str, int]], on_event: OnEvent = ignore) -> Iterator[Sample]:
    """Draw pictures one batch after another; where memory gives out, in batches of half the size.

    Args:
        jobs: Prompts, each with its seed.

    Yields:
        The pictures, in the same order.

    Raises:
        RuntimeError: If memory does not suffice for one picture.
    """
    yield from sample_batches(sampler, batched(list(jobs), sampler.batch_size), on_event)


def sample_batches(
    sampler: Sampler, batches: Iterable[Sequence[tuple[str, int]]], on_event: OnEvent = ignore
) -> Iterator[Sample]:
    """Draw whole batches, each as if it were the only one; where memory gives out, in halves.

    Args:
        batches: Prompts with their seeds, no more of them than the sampler's batch size.

    Yields:
        The pictures, in the same order.

    Raises:
        RuntimeError: If memory does not suffice for one picture.
    """
    size = sampler.batch_size
    for batch in batches:
        todo = list(batch)
        while todo:
            number = min(size, len(todo))
            pixels = _pixels(sampler, todo[:number])
            if pixels is None:
                size = number // 2
                hand_back_memory()
                message = f"not enough memory for {number} pictures at once: {size} are drawn together now"
                on_event(Notice(STAGE, "smaller-batches", message))
                continue
            for (prompt, seed), one in zip(todo[:number], pixels, strict=True):
                is_broken = not bool(np.isfinite(one).all())
                yield Sample(prompt, seed, _picture(np.zeros_like(one) if is_broken else one), is_broken)
            del todo[:number]


def batched(jobs: Sequence[_T], size: int) -> list[Sequence[_T]]:
    """Cut a list into batches.

    Args:
        size: Jobs in a batch, >= 1; the last one may have fewer.

    Returns:
        The batches, in order.
    """
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def _pixels(sampler: Sampler, batch: Sequence[tuple[str, int]]) -> np.ndarray[Any, Any] | None:
    """Pixels (B, H, W, 3) in [0, 1]; None where memory does not suffice, and would for fewer pictures."""
    try:
        return (
            _refined(sampler, batch)
            if sampler.has_two_passes
            else _first_pass(sampler, batch, sampler.side_px)
        )
    except RuntimeError as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
        return None  # the error goes first, and what the failed pass holds with it


def _first_pass(sampler: Sampler, batch: Sequence[tuple[str, int]], side_px: int) -> np.ndarray[Any, Any]:
    """Pixels (B, H, W, 3) in [0, 1]."""
    generators = [torch.Generator("cpu").manual_seed(seed) for _, seed in batch]
    result = sampler.pipeline(
        prompt=[prompt for prompt, _ in batch],
        **_negative(sampler, len(batch)),
        num_inference_steps=sampler.table.num_inference_steps,
        guidance_scale=sampler.table.guidance_scale,
        height=side_px,
        width=side_px,
        generator=generators,
        latents=_noise(sampler, side_px, generators),
        output_type="np",
    )
    return np.asarray(result.images)


def _noise(sampler: Sampler, side_px: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Standard normal latents (B, C, h, w), in the denoiser's precision and on its device."""
    denoiser = getattr(sampler.pipeline, sampler.family.denoiser)
    side = side_px // sampler.family.vae_factor({"vae": sampler.pipeline.vae.config})
    shape = (1, denoiser.config.in_channels, side, side)
    noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    return noise.to(denoiser.device, denoiser.dtype)


def _refined(sampler: Sampler, batch: Sequence[tuple[str, int]]) -> np.ndarray[Any, Any]:
    """Pixels (B, H, W, 3) in [0, 1]: composed at the base's own size, then enlarged and refined."""
    size = (sampler.side_px, sampler.side_px)
    small = np.nan_to_num(_first_pass(sampler, batch, sampler.native_px))
    large = [_picture(one).resize(size, Image.Resampling.LANCZOS) for one in small]
    refiner = sampler.family.refiner(sampler.pipeline)
    refiner.set_progress_bar_config(disable=True)
    result = refiner(
        prompt=[prompt for prompt, _ in batch],
        image=large,
        strength=REFINE_STRENGTH,
        **_negative(sampler, len(batch)),
        num_inference_steps=sampler.table.num_inference_steps,
        guidance_scale=sampler.table.guidance_scale,
        generator=[torch_generator(seed, "refine") for _, seed in batch],
        output_type="np",
    )
    return np.asarray(result.images)


def _negative(sampler: Sampler, number: int) -> dict[str, Any]:
    """What the pipeline is told beside the prompts of what is not wanted."""
    if not sampler.family.has_negative:
        return {}
    prompt = sampler.family.negative(sampler.table.negative_prompt)
    return {"negative_prompt": None if prompt is None else [prompt] * number}


def _picture(pixels: np.ndarray[Any, Any]) -> Image.Image:
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))
