"""The random numbers of training, each a function of (seed, purpose, step, item), on the CPU in float32.

``items`` are positions within the step's global batch, so that any number of processes, and any way of
splitting the batch, draws the same numbers for the same picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from veneer.config import TimestepSampling
from veneer.seeds import numpy_generator, torch_generator


def normal(seed: int, purpose: str, step: int, items: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers for each item.

    Args:
        purpose: What they are for, such as "noise".
        items: Positions within the global batch, B of them.
        shape: Shape of one item's numbers.

    Returns:
        Shape (B, *shape), float32.
    """
    draws = [torch.randn(tuple(shape), generator=torch_generator(seed, purpose, step, i)) for i in items]
    return torch.stack(draws)


def uniform(seed: int, purpose: str, step: int, item: int) -> float:
    """One uniform number.

    Args:
        purpose: What it is for, such as "flip".
        item: Position within the global batch.

    Returns:
        A number in [0, 1).
    """
    return float(numpy_generator(seed, purpose, step, item).random())


def timesteps(
    seed: int,
    step: int,
    items: Sequence[int],
    batch: int,
    timestep_range: tuple[int, int],
    *,
    sampling: TimestepSampling = "uniform",
    place: Callable[[float], float] = float,
) -> Tensor:
    """Timesteps to train at.

    Args:
        items: Positions within the global batch, B of them.
        batch: Size of the global batch; "stratified" gives each of its items a stratum of its own.
        timestep_range: First timestep and one past the last.
        sampling: Distribution: uniform; stratified, uniform over the batch's strata in a drawn order (less
            variance of the gradient); logit_normal, middle timesteps more often.
        place: Where on the base's path a share in [0, 1) of the draws lies.

    Returns:
        Integers in the range, shape (B,), int64.

    Source: logit_normal: Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image
    Synthesis", section 3.1; stratified: Kingma et al. 2021, "Variational Diffusion Models", appendix I.1.
    """
    match sampling:
        case "uniform":
            shares = [uniform(seed, "timestep", step, item) for item in items]
        case "stratified":
            strata = numpy_generator(seed, "timestep-stratum", step).permutation(batch)
            shares = [(int(strata[i]) + uniform(seed, "timestep", step, i)) / batch for i in items]
        case "logit_normal":
            numbers = [numpy_generator(seed, "timestep", step, item).standard_normal() for item in items]
            shares = torch.sigmoid(torch.tensor(numbers, dtype=torch.float64)).tolist()
    first, end = timestep_range
    drawn = [min(first + int(place(share) * (end - first)), end - 1) for share in shares]
    return torch.tensor(drawn, dtype=torch.int64)
