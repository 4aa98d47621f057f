"""A safetensors file that a stranger may have written: its tensors and text, or what it is instead."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from veneer.errors import AdapterError
from veneer.lora.kinds import shown_name
from veneer.models.modelfiles import PICKLE_SUFFIXES, pickle_error, what_it_is

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Precisions of weights that are worked with as they are."""


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all of a file on the CPU.

    Args:
        kind: What it should be, for messages, such as "LoRA".

    Returns:
        Tensors by name in the order of names, and the file's text.

    Raises:
        AdapterError: If the file is missing, a pickle, something else under this name, or damaged.
    """
    if path.suffix in PICKLE_SUFFIXES:
        todo = f"Take the {kind}'s .safetensors file"
        raise AdapterError(pickle_error(path).what, where=str(path), todo=todo)
    if not path.is_file():
        raise AdapterError(f"no such {kind} file", where=str(path), todo="Name a .safetensors file")
    if other := what_it_is(path):
        raise AdapterError(other.what, where=str(path), todo=other.todo)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, metadata
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        line = shown_name(" ".join(str(error).split()), 200)
        raise AdapterError(f"the {kind} file is damaged: {line}", where=str(path)) from error
