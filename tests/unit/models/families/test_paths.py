"""Noisy latents, targets and weights against diffusers' own scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from veneer.models.families.paths import add_noise, diffusion_path, loss_weights, velocity

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def draws() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(5, 4, 6, 6, generator=generator) for _ in range(2))
    return latents, noise, torch.tensor([0, 1, 250, 700, 999])


def test_noisy_latents_and_velocity_are_those_of_diffusers() -> None:
    latents, noise, timesteps = draws()
    table = SCHEDULER.alphas_cumprod
    torch.testing.assert_close(
        add_noise(latents, noise, timesteps, table), SCHEDULER.add_noise(latents, noise, timesteps)
    )
    torch.testing.assert_close(
        velocity(latents, noise, timesteps, table), SCHEDULER.get_velocity(latents, noise, timesteps)
    )


def test_gamma_must_be_positive() -> None:
    with pytest.raises(ValueError, match="gamma"):
        loss_weights(torch.ones(3), "min_snr", 0.0, "epsilon")


def test_a_terminal_signal_of_zero_is_that_of_diffusers() -> None:
    own = {key: value for key, value in SCHEDULER.config.items() if not key.startswith("_")}
    settings = {**own, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    path = diffusion_path(settings)
    latents, noise, timesteps = draws()
    assert path.alphas_cumprod[-1] == 0
    assert torch.equal(path.mix(latents, noise, timesteps)[-1], noise[-1])
    assert torch.equal(path.target(latents, noise, timesteps)[-1], -latents[-1])
    weights = path.weights("min_snr", 5.0)
    assert bool(torch.isfinite(weights).all()) and float(weights[-1]) == 0
