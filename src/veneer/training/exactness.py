"""The same bits from the same run on a GPU, where the recipe asks for them: slower kernels, and no trials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from veneer import launch
from veneer.errors import RecipeError


@contextlib.contextmanager
def same_bits(wanted: bool) -> Iterator[None]:
    """Compute the same bits each time in the block; a CPU always does.

    Args:
        wanted: Whether it is asked for.

    Yields:
        Nothing.

    Raises:
        RecipeError: If a GPU has only kernels for something whose result differs from time to time.
    """
    if not wanted or launch.pick_device().type != "cuda":
        yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic implementation" not in str(error):
            raise
        message = f"this GPU cannot compute the same bits each time: {str(error).split('.')[0]}"
        raise RecipeError(message, where="train.deterministic", todo="Set it to false") from error
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before, False
