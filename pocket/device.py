"""Where the recipe computes, in which precision, and with which random numbers."""

import zlib
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from veneer.machine import has_bf16_instructions

from .config import SEED


def training_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_generator(purpose: str, step: int) -> torch.Generator:
    """The random numbers of one step of one training, drawn on the device that trains."""
    key = f"{SEED} {purpose} {step}".encode()
    return torch.Generator(training_device()).manual_seed(zlib.crc32(key) + (zlib.adler32(key) << 32))


def low_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for what allows it, where the machine has it; other CPUs are a hundred times slower so.

    No step uses a weight twice, so no shortened copy of one is kept; a recorded step could not use it.
    """
    is_enabled = low_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=is_enabled, cache_enabled=False)


def low_dtype(device: torch.device) -> torch.dtype:
    """The shortest numbers that the device is quick with."""
    has_bf16 = device.type != "cpu" or has_bf16_instructions()
    return torch.bfloat16 if has_bf16 else torch.float32


def quick_attention() -> AbstractContextManager:
    """On a CPU plain attention trains three times as fast as the flash kernel."""
    return nullcontext() if torch.cuda.is_available() else sdpa_kernel(SDPBackend.MATH)


def prepare_torch() -> None:
    """Settings of every training: denormal numbers are slow on CPUs, so they become zero."""
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(SEED)
