"""Models of strangers are loaded as data: none of their code runs, and weights are safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS: Mapping[str, Any] = {"trust_remote_code": False}
"""For every configuration, processor and tokenizer that transformers finds by name."""

WEIGHTS: Mapping[str, Any] = {**SETTINGS, "use_safetensors": True}
"""For every network that transformers finds by name."""


def why_not(error: Exception) -> str:
    """Say in one line why a model was not loaded.

    Args:
        error: What transformers raised.

    Returns:
        A reason, such as that it brings code of its own.
    """
    text = str(error).strip()
    if "trust_remote_code" in text or "custom code" in text:
        return "it brings code of its own, which is never run"
    if "safetensors" in text and (
        "pytorch_model" in text or "no file named" in text or "use_safetensors" in text
    ):
        return "it has no safetensors weights, and others may run code"
    return next(iter(text.splitlines()), type(error).__name__)
