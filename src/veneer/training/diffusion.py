"""The maths of training: noisy latents, targets, the loss and its weights. No model, no randomness.

Notation, as in Ho et al. 2020 and Salimans & Ho 2022: `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise`, where
`a_t` is the scheduler's `alphas_cumprod`, and the signal-to-noise ratio is `a_t / (1 - a_t)`. Shapes: B
items, C channels, h x w latent pixels, T timesteps of the scheduler. Everything that depends on the timestep
alone is a table of length T, made once in float64 and looked up in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from veneer.config import LossWeighting

PredictionType = Literal["epsilon", "v_prediction", "sample"]
Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
Target = Callable[[Tensor, Tensor, Tensor], Tensor]

HUBER_FLOOR = 0.1


@dataclass(frozen=True)
class Objective:
    """What the UNet is trained towards: chosen once, before the loop.

    Attributes:
        alphas_cumprod: The scheduler's products, shape (T,), float32, in (0, 1).
        target: Maps latents, noise (B, C, h, w) and timesteps (B,) to what the UNet should predict.
        distance: Maps model_pred, target (B, C, h, w) and timesteps (B,) to the elementwise loss.
        weights: Loss weight of each timestep, shape (T,), float32, >= 0.
    """

    alphas_cumprod: Tensor
    target: Target
    distance: Distance
    weights: Tensor


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Noisy latents at given timesteps.

    Args:
        latents: Clean latents, scaled, shape (B, C, h, w).
        noise: Standard normal noise, shape (B, C, h, w).
        timesteps: Integers in [0, T), shape (B,).
        alphas_cumprod: The scheduler's products, shape (T,).

    Returns:
        Noisy latents, shape (B, C, h, w).

    Source: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", equation 4.
    """
    signal, sigma = _signal_and_sigma(alphas_cumprod, timesteps)
    return signal * latents + sigma * noise


def velocity(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The velocity that v-prediction models learn.

    Args:
        latents: Clean latents, scaled, shape (B, C, h, w).
        noise: The noise that was added, shape (B, C, h, w).
        timesteps: Integers in [0, T), shape (B,).
        alphas_cumprod: The scheduler's products, shape (T,).

    Returns:
        ``sqrt(a) * noise - sqrt(1 - a) * latents``, shape (B, C, h, w).

    Source: Salimans & Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models", section 4.
    """
    signal, sigma = _signal_and_sigma(alphas_cumprod, timesteps)
    return signal * noise - sigma * latents


def target_for(prediction_type: PredictionType, alphas_cumprod: Tensor) -> Target:
    """What the UNet should predict, as a function of latents, noise and timesteps.

    Args:
        prediction_type: The base's own, from its scheduler.
        alphas_cumprod: The scheduler's products, shape (T,).

    Returns:
        A function of ``(latents, noise, timesteps)`` that gives (B, C, h, w).
    """
    match prediction_type:
        case "epsilon":
            return lambda latents, noise, timesteps: noise
        case "sample":
            return lambda latents, noise, timesteps: latents
        case "v_prediction":
            return lambda latents, noise, timesteps: velocity(
                latents, noise, timesteps, alphas_cumprod.to(latents.device)
            )


def signal_to_noise(alphas_cumprod: Tensor) -> Tensor:
    """Signal-to-noise ratio of every timestep.

    Args:
        alphas_cumprod: The scheduler's products, shape (T,), in [0, 1).

    Returns:
        Ratios, shape (T,), float64, >= 0.
    """
    a = alphas_cumprod.double()
    return a / (1 - a)


def loss_weights(
    snr: Tensor, weighting: LossWeighting, gamma: float, prediction_type: PredictionType
) -> Tensor:
    """Loss weight of each timestep.

    Each weighting is a weight on the error of the clean latents; dividing by the factor between that error
    and the error of what is predicted (the ratio itself for noise, the ratio + 1 for velocity) gives the
    weight here.

    Args:
        snr: Signal-to-noise ratios, shape (T,), >= 0.
        gamma: Cap of the ratio for the min-SNR kinds, > 0; 5 in the paper.
        prediction_type: What the UNet predicts.

    Returns:
        Weights, shape (T,), float64; ones for "none".

    Raises:
        ValueError: If ``gamma`` is not positive.

    Source: Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", section 3.4;
    Crowson et al. 2024, "Scalable High-Resolution Pixel-Space Image Synthesis with Hourglass Diffusion
    Transformers", section 4.4 (soft); Yu et al. 2023, "Debias the Training of Diffusion Models", section 3.
    """
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    snr = snr.double()
    match weighting:
        case "none":
            return torch.ones_like(snr)
        case "min_snr":
            of_latents = snr.clamp(max=gamma)
        case "soft_min_snr":
            of_latents = snr * gamma / (snr + gamma)
        case "debiased":
            of_latents = snr.sqrt()
    return of_latents / _error_factor(snr, prediction_type)


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


def _signal_and_sigma(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    a = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return a.sqrt(), (1 - a).sqrt()


def _error_factor(snr: Tensor, prediction_type: PredictionType) -> Tensor:
    match prediction_type:
        case "epsilon":
            return snr.clamp(min=1e-8)
        case "v_prediction":
            return snr + 1
        case "sample":
            return torch.ones_like(snr)
