"""The base of a run as diffusers' own pipeline, with the run's LoRA and learnt word in it."""

from __future__ import annotations

from typing import Any

from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import OnEvent, ignore
from veneer.lora.embedding_file import load_textual_inversion, read_embedding
from veneer.lora.loading import load_lora
from veneer.models.base import objective_by
from veneer.models.sampling import load_sampler
from veneer.records.run import RunDir


def plain_pipeline(run: RunDir, recipe: Recipe, scale: float, on_event: OnEvent = ignore) -> Any:
    """Load a run's base and put on what the run made; from there on it is diffusers alone.

    Args:
        scale: Strength of the LoRA, >= 0.

    Returns:
        A pipeline such as ``StableDiffusionPipeline``, on the device that pictures are drawn on.

    Raises:
        RunError: If the run has no LoRA and no word yet.
        AdapterError: If they do not fit the base.
        BaseModelError: If the base cannot be loaded.
    """
    if not (run.lora_file.is_file() or run.embedding_file.is_file()):
        todo = "Train and export it first, with veneer.run or `veneer run`"
        raise RunError("the run has no adapter yet", where=str(run.lora_file), todo=todo)
    base = recipe.base
    sampler = load_sampler(
        base.model,
        recipe.generate,
        vae=base.vae,
        revision=base.revision,
        objective=objective_by(base),
        on_event=on_event,
    )
    if run.lora_file.is_file():
        load_lora(sampler, run.lora_file, scale, on_event)
    if run.embedding_file.is_file():
        word = read_embedding(run.embedding_file)
        load_textual_inversion(sampler.pipeline, word, str(run.embedding_file))
    sampler.pipeline.set_progress_bar_config(disable=False)
    return sampler.pipeline
