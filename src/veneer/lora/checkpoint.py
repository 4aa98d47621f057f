"""The adapter of a run's checkpoint, read together with the recipe that says its alpha."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from veneer.errors import RunError
from veneer.events import OnEvent, ignore
from veneer.lora.adapter import is_adapter_weight
from veneer.lora.keys import OWN_BASE, OWN_RECIPE, OWN_VERSION
from veneer.lora.reader import read_lora
from veneer.lora.weights import LoraFile, from_state
from veneer.recipe import load_recipe, to_toml
from veneer.records.run import ADAPTER_FILE, RunDir
from veneer.versions import VERSION


def read_adapter(path: Path, on_event: OnEvent = ignore) -> LoraFile:
    """Read a LoRA file, or a checkpoint of a run together with the alpha that its recipe says.

    Raises:
        AdapterError: If it is no LoRA.
    """
    recipe = _recipe_of(path)
    if recipe is None:
        return read_lora(path, on_event)
    settings = load_recipe(str(recipe))
    text = {
        OWN_BASE: settings.base.model,
        OWN_RECIPE: to_toml(settings),
        OWN_VERSION: VERSION,
    }
    return from_state(read_checkpoint(path), settings.lora, text)


def is_checkpoint(path: Path) -> bool:
    """Whether a file is the adapter of a run's checkpoint, which leaves its alpha to the run's recipe."""
    return _recipe_of(path) is not None


def _recipe_of(path: Path) -> Path | None:
    if path.name != ADAPTER_FILE:
        return None
    return next((toml for p in path.resolve().parents if (toml := RunDir(p).recipe_toml).is_file()), None)


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read the adapter of a checkpoint.

    Args:
        path: Its `adapter.safetensors`.

    Returns:
        Weights by peft's names, the text encoder's with the prefix ``text_encoder.``.

    Raises:
        RunError: If the file is missing.
    """
    if not path.is_file():
        raise RunError(
            "the chosen checkpoint is gone", where=str(path), todo="Train again: `veneer train RUN`"
        )
    return {name: weight for name, weight in load_file(path).items() if is_adapter_weight(name)}
