"""How a family mixes pictures with noise, and what its network is asked for: one path a family.

Notation of diffusion, as in Ho et al. 2020 and Salimans & Ho 2022: `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t)
noise`, where `a_t` is the scheduler's `alphas_cumprod`, and the signal-to-noise ratio is `a_t / (1 - a_t)`.
Shapes: B items, C channels, h x w latent pixels, T timesteps. What depends on the timestep alone is a table
of length T.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from veneer.config import LossWeighting
from veneer.errors import BaseModelError

PredictionType = Literal["epsilon", "v_prediction", "sample"]


class NoisePath(Protocol):
    """From clean latents to noise, in T steps."""

    @property
    def num_timesteps(self) -> int:
        """Number of timesteps, T; they count from 0, little noise, to T - 1, much."""

    @property
    def prediction_type(self) -> str:
        """What the network predicts, in a word that files keep."""

    def place(self, share: float) -> float:
        """Where on the path a share in [0, 1) of draws, or of the validation grid, lies; in [0, 1)."""

    def shifted(self, shift: float) -> Self:
        """The same path, drawn from and judged more at much noise (above 1) or at little (below)."""

    def mix(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents, shape (B, C, h, w), of clean ones and noise of that shape and timesteps (B,)."""

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict there, shape (B, C, h, w)."""

    def weights(self, weighting: LossWeighting, gamma: float) -> Tensor:
        """Loss weight of each timestep, shape (T,), float64, >= 0."""

    def to(self, device: torch.device) -> Self:
        """The same path with its tables on a device."""


@dataclass(frozen=True)
class Diffusion:
    """The path of diffusion models.

    Attributes:
        alphas_cumprod: The scheduler's products, shape (T,), float32, in [0, 1); 0 at the end where the
            terminal signal-to-noise ratio is zero.
        prediction_type: What the network predicts.
        shift: Pull of timesteps towards much noise, > 0; 1 for none.
    """

    alphas_cumprod: Tensor
    prediction_type: PredictionType
    shift: float = 1.0

    @property
    def num_timesteps(self) -> int:
        """Number of timesteps, T."""
        return len(self.alphas_cumprod)

    def place(self, share: float) -> float:
        """Where a share of draws lies on the path."""
        return shifted_share(share, self.shift)

    def shifted(self, shift: float) -> Diffusion:
        """The same path with another shift."""
        return replace(self, shift=shift)

    def mix(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents, shape (B, C, h, w)."""
        return add_noise(latents, noise, timesteps, self.alphas_cumprod)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict, shape (B, C, h, w)."""
        match self.prediction_type:
            case "epsilon":
                return noise
            case "sample":
                return latents
            case "v_prediction":
                return velocity(latents, noise, timesteps, self.alphas_cumprod)

    def weights(self, weighting: LossWeighting, gamma: float) -> Tensor:
        """Loss weight of each timestep, shape (T,), float64."""
        return loss_weights(signal_to_noise(self.alphas_cumprod), weighting, gamma, self.prediction_type)

    def to(self, device: torch.device) -> Diffusion:
        """The same path with its table on a device."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))


def shifted_share(share: float, shift: float) -> float:
    """A share of the path, pulled towards much noise.

    Args:
        share: In [0, 1).
        shift: How far, > 0; 1 gives the share itself.

    Source: Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
    section 5.3.2.
    """
    return shift * share / (1 + (shift - 1) * share)


def diffusion_path(scheduler: Mapping[str, Any]) -> Diffusion:
    """The path that a scheduler's settings describe.

    Args:
        scheduler: Content of `scheduler_config.json`, of any class.

    Raises:
        BaseModelError: If the base predicts what there is no objective for.
    """
    from diffusers import DDPMScheduler

    kind = checked_prediction_type(str(scheduler.get("prediction_type", "epsilon")))
    return Diffusion(DDPMScheduler.from_config(scheduler).alphas_cumprod.float(), kind)


def checked_prediction_type(name: str) -> PredictionType:
    """Narrow the scheduler's word.

    Args:
        name: The scheduler's ``prediction_type``.

    Returns:
        The same word.

    Raises:
        BaseModelError: If there is no objective of this kind.
    """
    match name:
        case "epsilon" | "v_prediction" | "sample":
            return name
        case _:
            raise BaseModelError(
                f"no objective for a base that predicts {name!r}", where="scheduler_config.json"
            )


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
