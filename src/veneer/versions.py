"""Versions, as every record of a run or benchmark names them."""

from __future__ import annotations

import importlib.metadata
import platform

VERSION = "0.1.0"
"""Version of Veneer; pyproject.toml reads it from here."""

_PACKAGES = ("veneer", "torch", "diffusers", "transformers", "peft", "accelerate", "datasets", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Veneer, Python and the libraries that a result depends on.

    Returns:
        Versions by package name; "not installed" where a package is absent.
    """
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
