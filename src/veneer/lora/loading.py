"""LoRA files put on a pipeline that draws, and taken off again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from veneer.errors import AdapterError
from veneer.events import Notice, OnEvent, ignore
from veneer.lora.file import diffusers_settings, diffusers_tensors
from veneer.lora.keys import OWN_BASE, OWN_FINGERPRINT
from veneer.lora.kinds import family_of
from veneer.lora.reader import file_of, read_lora
from veneer.lora.weights import LoraFile
from veneer.models.base import load_base
from veneer.models.families import Family
from veneer.models.quiet import quiet_libraries
from veneer.models.sampling import STAGE, Sampler

_ADAPTER = "tuned"
LOADED = (f"lora_A.{_ADAPTER}.weight", f"lora_B.{_ADAPTER}.weight")


def load_lora(sampler: Sampler, lora: Path, scale: float = 1.0, on_event: OnEvent = ignore) -> None:
    """Put an adapter on, in place of the one before; the base's weights stay as they are.

    Args:
        lora: Adapter file of any layout, or a folder with one.
        scale: Strength, >= 0.
        on_event: Told where the base had other weights when the adapter was trained.
    The file goes through Veneer's own reader: diffusers would take a file that it does not know for a weaker,
    a stronger or an empty one.

    Raises:
        AdapterError: If the file is missing, damaged, or made for another base.
    """
    lora = file_of(lora)
    adapter = read_lora(lora, on_event)
    adapter.refuse_by_inputs("cannot be drawn with")
    refuse_family(adapter, sampler.family, str(lora))
    unload_lora(sampler)
    try:
        with quiet_libraries(logging.CRITICAL):  # diffusers warns of each part that a LoRA leaves alone
            _load(sampler, adapter)
    except (ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise _misfit(sampler, lora, adapter, " ".join(str(error).split())[:200]) from error
    parts = (sampler.family.denoiser, *sampler.family.text_encoders)
    loaded = sum(_count_loaded(getattr(sampler.pipeline, part)) for part in parts)
    if loaded != (wanted := 2 * len(adapter.modules)):
        raise _misfit(sampler, lora, adapter, f"{loaded} of {wanted} matrices found their layer")
    sampler.pipeline.set_adapters([_ADAPTER], [scale])
    if _was_trained_on_other_weights(sampler, adapter):
        what = (
            f"{lora.name} was trained on other weights of {sampler.source} than these, and may not fit them"
        )
        on_event(Notice(STAGE, "other-weights", what))


def refuse_stranger(lora: Path, base: str) -> None:
    """Refuse a LoRA of another family than a base's before any of the base's weights are fetched or read.

    Args:
        lora: Adapter file of any layout, or a folder with one.
        base: The base, as `load_base` takes it; only its settings are looked at.

    Raises:
        AdapterError: If it is of another family, or no LoRA.
    """
    refuse_family(read_lora(lora), load_base(base, parts=()).family, str(lora))


def refuse_family(adapter: LoraFile, base: Family, where: str) -> None:
    """Refuse an adapter of another family than the base's.

    Args:
        where: Its file, for messages.

    Raises:
        AdapterError: If it is of another.
    """
    own = family_of(adapter.state, adapter.metadata)
    if own is not None and own.name != base.name:
        what = f"the LoRA is of another family: it is made for {own.label}, and the base is {base.label}"
        raise AdapterError(what, where=where, todo=f"Name a base of {own.label}, the one it was trained on")


def _load(sampler: Sampler, adapter: LoraFile) -> None:
    pipeline = sampler.pipeline
    tensors, settings = diffusers_tensors(adapter), diffusers_settings(adapter)
    # As `load_lora_weights` does; with low_cpu_mem_usage nothing is drawn from torch's global generator.
    options = {"adapter_name": _ADAPTER, "metadata": settings, "low_cpu_mem_usage": True}
    for name in (sampler.family.denoiser, *sampler.family.text_encoders):
        own = {key: weight for key, weight in tensors.items() if key.startswith(f"{name}.")}
        if own and name == "unet":
            pipeline.load_lora_into_unet(own, None, pipeline.unet, **options)
        elif own and name == sampler.family.denoiser:
            pipeline.load_lora_into_transformer(own, pipeline.transformer, **options)
        elif own:
            network = getattr(pipeline, name)
            pipeline.load_lora_into_text_encoder(own, None, network, prefix=name, **options)


def _misfit(sampler: Sampler, lora: Path, adapter: LoraFile, reason: str) -> AdapterError:
    """Take an adapter off that does not fit, and say why."""
    unload_lora(sampler)
    if _was_trained_on_other_weights(sampler, adapter):
        what = f"the adapter was trained on other weights of {sampler.source}, whose layers have other sizes"
        todo = "Train it again on these weights, or go back to the version of Veneer that it came from"
        return AdapterError(what, where=str(lora), todo=todo)
    todo = "Name the base that it was trained on"
    return AdapterError(f"the adapter does not fit this base: {reason}", where=str(lora), todo=todo)


def unload_lora(sampler: Sampler) -> None:
    """Take the adapter off: the base draws as if there had been none."""
    sampler.pipeline.unload_lora_weights()


def _was_trained_on_other_weights(sampler: Sampler, adapter: LoraFile) -> bool:
    """Whether it is of an older or newer version of this base; a file that Veneer made knows."""
    known = adapter.metadata
    source, trained_on = known.get(OWN_BASE), known.get(OWN_FINGERPRINT, "")
    own, learnt = (name.partition("+")[0] for name in (sampler.fingerprint, trained_on))  # "+": another VAE
    return source == sampler.source and bool(learnt and own) and own != learnt


def _count_loaded(module: Any) -> int:
    return sum(name.endswith(LOADED) for name, _ in module.named_parameters())
