"""Processes that work on one command together, one or many.

``accelerate launch`` or ``torchrun`` start the same command once for each process; a process finds its rank
in its environment. Without them there is one process and nothing is initialised.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from veneer.config import MixedPrecision
from veneer.errors import RecipeError
from veneer.machine import machine_state, pick_device

_T = TypeVar("_T")


def accelerator(mixed_precision: MixedPrecision = "no") -> Accelerator:
    """Accelerate's view of this process: device, autocast, and sums over processes.

    Args:
        mixed_precision: Precision of the frozen base in training.

    Returns:
        The accelerator; it wraps nothing, gathers gradients only where asked, and casts on the CPU alone.

    Raises:
        RecipeError: If the device cannot compute in this precision.
    """
    device = pick_device()
    if mixed_precision == "fp16" and device.type == "cpu":
        raise RecipeError("fp16 needs an accelerator", where="train.mixed_precision", todo="Use bf16 or no")
    if mixed_precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RecipeError("this GPU has no bf16", where="train.mixed_precision", todo="Use fp16 or no")
    AcceleratorState._reset_state()  # one process may train twice, with another precision
    # Weights and inputs are in the low precision already; CUDA's autocast would run every norm in float32.
    autocast: MixedPrecision = mixed_precision if device.type == "cpu" else "no"
    return Accelerator(mixed_precision=autocast, cpu=device.type == "cpu")


def num_processes() -> int:
    """Processes that work on this command together.

    Returns:
        A number from 1.
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process.

    Returns:
        A number from 0; 0 is the main process, which alone writes what is written once.
    """
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this is the main process."""
    return rank() == 0


def wait_for_everyone() -> None:
    """Wait until every process has come here; nothing where there is one."""
    if num_processes() > 1:
        machine_state().wait_for_everyone()


def share_numbers(numbers: Sequence[float]) -> list[float]:
    """Sum numbers over all processes, each position by itself.

    Args:
        numbers: As many in every process.

    Returns:
        The sums, the same in every process.
    """
    if num_processes() == 1:
        return list(numbers)
    tensor = torch.tensor(numbers, dtype=torch.float64, device=machine_state().device)
    torch.distributed.all_reduce(tensor)
    return [float(x) for x in tensor.tolist()]


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Sum tensors over all processes, all in one message; nothing where there is one process.

    Args:
        tensors: Of equal dtype and device, the same shapes in every process; overwritten with the sums.
    """
    if num_processes() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def shard(items: Sequence[_T]) -> Sequence[_T]:
    """This process's share of some work: every n-th piece.

    Args:
        items: All of it, the same in the same order in every process. A list of what the disk lacks is not:
            the other processes write meanwhile. Cut first and look then, or wait before the first write.

    Returns:
        The pieces of this process; all of them where there is one process.
    """
    return items[rank() :: num_processes()]
