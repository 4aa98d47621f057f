"""LoRA files put on a pipeline that draws, and taken off again."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open

from veneer.errors import AdapterError
from veneer.events import Notice, OnEvent, ignore
from veneer.lora.metadata import DIFFUSERS_KEY, refuse_patterns
from veneer.models.sampling import STAGE, Sampler

ADAPTER = "tuned"
MATRIX = re.compile(r"lora[._](A|B|up|down)\.weight$")
LOADED = (f"lora_A.{ADAPTER}.weight", f"lora_B.{ADAPTER}.weight")


def load_lora(sampler: Sampler, lora: Path, scale: float = 1.0, on_event: OnEvent = ignore) -> None:
    """Put an adapter on, in place of the one before; the base's weights stay as they are.

    Args:
        sampler: The sampler.
        lora: Adapter file in diffusers' or kohya's layout.
        scale: Strength, >= 0.
        on_event: Told where the base had other weights when the adapter was trained.

    Raises:
        AdapterError: If the file is missing, damaged, or made for another base.
    """
    wanted = _count_matrices(lora)
    _refuse_patterns(lora)
    unload_lora(sampler)
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)  # it warns of each part that a LoRA leaves alone
    try:
        sampler.pipeline.load_lora_weights(str(lora), adapter_name=ADAPTER)
    except (ValueError, RuntimeError, KeyError) as error:
        raise _misfit(sampler, lora, " ".join(str(error).split())[:200]) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
    loaded = sum(_count_loaded(part) for part in (sampler.pipeline.unet, sampler.pipeline.text_encoder))
    if loaded != wanted:
        raise _misfit(sampler, lora, f"{loaded} of {wanted} matrices found their layer")
    sampler.pipeline.set_adapters([ADAPTER], [scale])
    if _was_trained_on_other_weights(sampler, lora):
        what = (
            f"{lora.name} was trained on other weights of {sampler.source} than these, and may not fit them"
        )
        on_event(Notice(STAGE, "other-weights", what))


def _misfit(sampler: Sampler, lora: Path, reason: str) -> AdapterError:
    """Take an adapter off that does not fit, and say why."""
    unload_lora(sampler)
    if _was_trained_on_other_weights(sampler, lora):
        what = f"the adapter was trained on other weights of {sampler.source}, whose layers have other sizes"
        todo = "Train it again on these weights, or go back to the version of Veneer that it came from"
        return AdapterError(what, where=str(lora), todo=todo)
    todo = "Name the base that it was trained on"
    return AdapterError(f"the adapter does not fit this base: {reason}", where=str(lora), todo=todo)


def _refuse_patterns(lora: Path) -> None:
    """Diffusers hands a file's settings to peft, which runs their patterns."""
    with safe_open(lora, framework="pt") as file:
        text = (file.metadata() or {}).get(DIFFUSERS_KEY, "{}")
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AdapterError("its settings are no JSON", where=str(lora), todo="Get the file anew") from error
    refuse_patterns(settings if isinstance(settings, dict) else {}, str(lora))


def unload_lora(sampler: Sampler) -> None:
    """Take the adapter off: the base draws as if there had been none.

    Args:
        sampler: The sampler.
    """
    sampler.pipeline.unload_lora_weights()


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


def _was_trained_on_other_weights(sampler: Sampler, lora: Path) -> bool:
    """Whether it is of an older or newer version of this base; a file that Veneer made knows."""
    with safe_open(lora, "pt") as file:
        known = file.metadata() or {}
    source, trained_on = known.get("veneer.base"), known.get("veneer.base_fingerprint", "")
    own, learnt = (name.partition("+")[0] for name in (sampler.fingerprint, trained_on))  # "+": another VAE
    return source == sampler.source and bool(learnt and own) and own != learnt


def _count_loaded(module: Any) -> int:
    return sum(name.endswith(LOADED) for name, _ in module.named_parameters())
