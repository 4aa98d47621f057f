"""Which kernels a GPU takes for training: the fastest by trial, or those that give the same bits each time.

With cuDNN's trials the first three passes of SD 1.5 over a new shape took 6 to 9 s on an H200, so they are
for what is done many hundred times, and of one shape.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from veneer import machine
from veneer.errors import RecipeError


@contextlib.contextmanager
def choosing_kernels(*, is_one_shape: bool, same_bits: bool) -> Iterator[None]:
    """Choose how a GPU computes in the block; a CPU always gives the same bits.

    Args:
        is_one_shape: Whether all pictures that are trained on have one shape: then cuDNN tries its kernels.
        same_bits: Whether the same bits are asked for.

    Raises:
        RecipeError: If a GPU has only kernels for something whose result differs from time to time.
    """
    if machine.pick_device().type != "cuda":
        yield
    elif same_bits:
        with _same_bits():
            yield
    else:
        with trying(is_one_shape):
            yield


@contextlib.contextmanager
def trying(wanted: bool) -> Iterator[None]:
    """Let cuDNN try its kernels out in the block, or not.

    Args:
        wanted: Whether to.
    """
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, wanted
    try:
        yield
    finally:
        cudnn.benchmark = before


@contextlib.contextmanager
def _same_bits() -> Iterator[None]:
    torch.backends.cudnn.deterministic = True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    try:
        with trying(False):
            yield
    except RuntimeError as error:
        if "deterministic implementation" not in str(error):
            raise
        message = f"this GPU cannot compute the same bits each time: {str(error).split('.')[0]}"
        raise RecipeError(message, where="train.deterministic", todo="Set it to false") from error
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
