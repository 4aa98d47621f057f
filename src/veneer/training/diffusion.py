"""The loss of noisy pictures: distances, weights, ranks by timestep. No model, no randomness.

How pictures and noise are mixed belongs to the family (`veneer.models.families.paths`). Shapes: B items, C
channels, h x w latent pixels, T timesteps of the path. What depends on the timestep alone is a table of
length T, made once in float64 and looked up in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from veneer.models.families.paths import NoisePath

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]

HUBER_FLOOR = 0.1


@dataclass(frozen=True)
class Objective:
    """What the network is trained towards: chosen once, before the loop.

    Attributes:
        path: How pictures are mixed with noise, and what should be predicted of them.
        distance: Maps model_pred, target (B, C, h, w) and timesteps (B,) to the elementwise loss.
        weights: Loss weight of each timestep, shape (T,), float32, >= 0.
    """

    path: NoisePath
    distance: Distance
    weights: Tensor


def squared_error(model_pred: Tensor, target: Tensor, timesteps: Tensor) -> Tensor:
    """Elementwise squared error.

    Args:
        model_pred: Prediction, shape (B, C, h, w).
        target: What it should be, shape (B, C, h, w).
        timesteps: Not used; every distance has this form.

    Returns:
        Errors, shape (B, C, h, w), >= 0.
    """
    return (model_pred - target).square()


def scheduled_huber(num_timesteps: int, floor: float = HUBER_FLOOR) -> Distance:
    """Pseudo-Huber loss whose bend moves with the timestep: squared near t = 0, robust to outliers near T.

    The bend is ``c(t) = floor ** (t / T)``, the loss ``2 c (sqrt(d^2 + c^2) - c)``: ``d^2`` for small d.

    Args:
        num_timesteps: Timesteps of the scheduler, T.
        floor: Bend at t = T, in (0, 1).

    Returns:
        A function of ``(model_pred, target, timesteps)`` that gives (B, C, h, w), >= 0.

    Source: Khrapov et al. 2024, "Improving Diffusion Models's Data-Corruption Resistance using Scheduled
    Pseudo-Huber Loss", sections 4 and 5 (exponential schedule).
    """
    rate = math.log(floor) / num_timesteps

    def distance(model_pred: Tensor, target: Tensor, timesteps: Tensor) -> Tensor:
        c = torch.exp(rate * timesteps.double()).to(model_pred.dtype).view(-1, 1, 1, 1)
        square = (model_pred - target).square()
        return 2 * c * square / (torch.sqrt(square + c * c) + c)

    return distance


def item_losses(
    objective: Objective, model_pred: Tensor, target: Tensor, timesteps: Tensor, masks: Tensor | None = None
) -> Tensor:
    """Weighted loss of each item, in float32 whatever the UNet ran in.

    Args:
        objective: The objective, on the device of the tensors.
        model_pred: Prediction, shape (B, C, h, w).
        target: What it should be, shape (B, C, h, w).
        timesteps: Integers in [0, T), shape (B,).
        masks: Weight of each place, shape (B, 1, h, w), >= 0, or None; only its form counts, not its total.

    Returns:
        Losses, shape (B,), float32, >= 0.
    """
    losses = objective.distance(model_pred.float(), target.float(), timesteps)
    if masks is not None:
        losses = losses * (masks / masks.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6))
    return losses.mean(dim=(1, 2, 3)) * objective.weights[timesteps]


def timestep_rank(timesteps: Tensor, rank: int, num_timesteps: int) -> Tensor:
    """Number of ranks that act at each timestep: all at t = 0, about half at the end.

    Args:
        timesteps: Integers in [0, T), shape (B,).
        rank: The adapter's rank, >= 1.
        num_timesteps: Timesteps of the scheduler, T.

    Returns:
        Integers in [ceil(rank / 2), rank], shape (B,).

    Source: Soboleva et al. 2025, "T-LoRA: Single Image Diffusion Model Customization Without Overfitting",
    section 3.2, with the smallest rank at half.
    """
    smallest = (rank + 1) // 2
    share = (num_timesteps - timesteps.double()) / num_timesteps
    return smallest + torch.floor(share * (rank - smallest) + 1e-9).long()
