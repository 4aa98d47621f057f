"""Pictures of a base, with or without a LoRA and a learnt word, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from veneer.config import GenerateTable
from veneer.errors import BaseModelError
from veneer.events import OnEvent, ignore
from veneer.lora.embedding_file import load_textual_inversion, read_embedding
from veneer.lora.loading import load_lora
from veneer.models.sampling import load_sampler, sample


def draw(
    base: str,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    lora: Path | None = None,
    scale: float = 1.0,
    embedding: Path | None = None,
    generate: GenerateTable | None = None,
    vae: str | None = None,
    on_event: OnEvent = ignore,
) -> list[Image.Image]:
    """Draw every prompt with every seed.

    Args:
        base: Base model: hub name, local folder, `.safetensors` checkpoint, or `pocket`.
        lora: Adapter file in diffusers' or kohya's layout; None for the base alone.
        scale: Strength of the adapter, >= 0; 0 is the base.
        embedding: File of a learnt word (textual inversion); prompts call it by its name.
        generate: Sampler, steps, guidance and size; the defaults draw at the base's own size.
        vae: VAE in place of the base's own.

    Returns:
        RGB pictures, prompt by prompt, seed by seed within a prompt.

    Raises:
        AdapterError: If the adapter is damaged or made for another base.
        BaseModelError: If the base cannot be loaded, or draws no finite numbers.
    """
    sampler = load_sampler(base, generate or GenerateTable(), vae=vae, on_event=on_event)
    if lora is not None:
        load_lora(sampler, lora, scale, on_event)
    if embedding is not None:
        load_textual_inversion(sampler.pipeline, read_embedding(embedding), str(embedding))
    jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
    drawn = list(sample(sampler, jobs, on_event))
    broken = [one for one in drawn if one.is_broken]
    if broken:
        what = f"{len(broken)} of {len(drawn)} pictures came out as no finite numbers"
        raise BaseModelError(what, where=str(lora or base), todo="Try a lower --scale, or another scheduler")
    return [one.image for one in drawn]
