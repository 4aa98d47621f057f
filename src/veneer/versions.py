"""Versions and hardware, as every record of a run or benchmark names them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

VERSION = "0.1.0"
"""Version of Veneer; pyproject.toml reads it from here."""

_PACKAGES = ("veneer", "torch", "diffusers", "transformers", "peft", "accelerate", "datasets", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Veneer, Python and the libraries that a result depends on.

    Returns:
        Versions by package name; "not installed" where a package is absent.
    """
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def hardware() -> dict[str, str | int | float]:
    """The machine that a figure was measured on.

    Returns:
        Processor with its instructions, cores, memory in GiB, and accelerator ("none" where there is none).
    """
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory_gib, 1),
        "accelerator": accelerator,
        "system": platform.platform(),
    }


def has_bf16_instructions() -> bool:
    """Whether torch computes bf16 quickly on this processor; elsewhere it converts, many times slower.

    Returns:
        False too where torch was built without oneDNN, which would be what uses them.
    """
    import torch

    return bool(torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Name, and what decides over speed: the widest instructions that torch uses, and bf16 if it is there."""
    import torch

    instructions = [torch.backends.cpu.get_cpu_capability()]
    if has_bf16_instructions():
        instructions.append("bf16")
    return f"{_model()} ({', '.join(instructions)})"


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].partition(":")[2].strip()
    return platform.processor() or platform.machine()
