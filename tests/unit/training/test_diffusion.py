"""The objective against straight float64 formulas and diffusers' own scheduler."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from veneer.models.families.paths import Diffusion
from veneer.training.diffusion import (
    Objective,
    item_losses,
    scheduled_huber,
    squared_error,
    timestep_rank,
)

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
T = 1000
PATH = Diffusion(SCHEDULER.alphas_cumprod, "epsilon")


def draws() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise, pred = (torch.randn(5, 4, 6, 6, generator=generator) for _ in range(3))
    return latents, noise, pred, torch.tensor([0, 1, 250, 700, 999])


def reference_weight(a: float, weighting: str, prediction_type: str, gamma: float) -> float:
    snr = a / (1 - a)
    divisor = {"epsilon": snr, "v_prediction": snr + 1, "sample": 1.0}[prediction_type]
    match weighting:
        case "none":
            return 1.0
        case "min_snr":
            return min(snr, gamma) / divisor
        case "soft_min_snr":
            return 1 / (1 / snr + 1 / gamma) / divisor
        case "debiased":
            return math.sqrt(snr) / divisor
    raise AssertionError(weighting)


def reference_item(i: int, prediction_type: str, weighting: str, loss_type: str) -> float:
    """The loss of one item, element by element in Python's float64."""
    latents, noise, pred, timesteps = (tensor[i].double().flatten().tolist() for tensor in draws())
    t = int(timesteps[0])
    a = float(SCHEDULER.alphas_cumprod[t])
    c = 0.1 ** (t / T)
    total = 0.0
    for x, n, p in zip(latents, noise, pred, strict=True):
        target = {
            "epsilon": n,
            "v_prediction": math.sqrt(a) * n - math.sqrt(1 - a) * x,
            "sample": x,
        }[prediction_type]
        d = p - target
        total += d * d if loss_type == "l2" else 2 * c * (math.sqrt(d * d + c * c) - c)
    return total / len(pred) * reference_weight(a, weighting, prediction_type, 5.0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("weighting", ["none", "min_snr", "soft_min_snr", "debiased"])
@pytest.mark.parametrize("loss_type", ["l2", "huber"])
def test_losses_are_those_of_a_float64_reference(
    prediction_type: Any, weighting: Any, loss_type: str
) -> None:
    latents, noise, pred, timesteps = draws()
    path = Diffusion(SCHEDULER.alphas_cumprod, prediction_type)
    distance = squared_error if loss_type == "l2" else scheduled_huber(T)
    objective = Objective(path, distance, path.weights(weighting, 5.0).float())
    losses = item_losses(objective, pred, path.target(latents, noise, timesteps), timesteps)
    expected = [reference_item(i, prediction_type, weighting, loss_type) for i in range(5)]
    assert losses.tolist() == pytest.approx(expected, rel=2e-5)


def test_masks_weight_by_place_and_not_by_their_size() -> None:
    _, noise, pred, timesteps = draws()
    objective = Objective(PATH, squared_error, torch.ones(T))
    masks = torch.zeros(5, 1, 6, 6)
    masks[:, :, :3] = 0.5
    losses = item_losses(objective, pred, noise, timesteps, masks)
    expected = (pred - noise).double().square()[:, :, :3].mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=0)


def test_half_precision_predictions_are_compared_in_float32() -> None:
    _, noise, pred, timesteps = draws()
    objective = Objective(PATH, squared_error, torch.ones(T))
    losses = item_losses(objective, pred.bfloat16(), noise, timesteps)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, (pred.bfloat16().float() - noise).square().mean(dim=(1, 2, 3)))


def test_ranks_fall_from_all_to_half_with_the_noise() -> None:
    ranks = timestep_rank(torch.tensor([0, 500, 999]), 8, T)
    assert ranks.tolist() == [8, 6, 4]
    assert timestep_rank(torch.tensor([0, 999]), 1, T).tolist() == [1, 1]
