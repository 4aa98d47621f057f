"""The straight path against diffusers' own scheduler, its weights against their definition, its draws."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from veneer.models.families.flow import FLOW_STEPS, Flow, flow_path, noise_share
from veneer.models.families.paths import diffusion_path
from veneer.training.randomness import timesteps as draw_timesteps
from veneer.training.validation import grid

TIMESTEPS = torch.tensor([0, 1, 250, 700, 999])


def draws() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(5, 4, 6, 6, generator=generator) for _ in range(2))
    return latents, noise


def test_noisy_latents_are_those_of_diffusers() -> None:
    latents, noise = draws()
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=FLOW_STEPS)
    theirs = scheduler.scale_noise(latents, scheduler.timesteps[FLOW_STEPS - 1 - TIMESTEPS], noise)
    torch.testing.assert_close(Flow().mix(latents, noise, TIMESTEPS), theirs)
    assert torch.equal(Flow().mix(latents, noise, TIMESTEPS)[-1], noise[-1])


def test_the_target_leads_from_the_picture_to_the_noise() -> None:
    latents, noise = draws()
    path = Flow()
    mixed, target = path.mix(latents, noise, TIMESTEPS), path.target(latents, noise, TIMESTEPS)
    left = (1 - noise_share(TIMESTEPS)).view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed + left * target, noise)


@pytest.mark.parametrize("weighting", ["min_snr", "soft_min_snr", "debiased"])
def test_a_weight_is_one_of_the_clean_latents_error(weighting: str) -> None:
    share = noise_share(torch.arange(FLOW_STEPS)).double()
    ratio = ((1 - share) / share) ** 2
    of_latents = {
        "min_snr": ratio.clamp(max=5),
        "soft_min_snr": ratio * 5 / (ratio + 5),
        "debiased": ratio.sqrt(),
    }
    wanted = of_latents[weighting] * share**2
    torch.testing.assert_close(Flow().weights(weighting, 5.0), wanted)  # type: ignore[arg-type]
    assert torch.equal(Flow().weights("none", 5.0), torch.ones(FLOW_STEPS, dtype=torch.float64))


def test_a_shift_is_the_schedulers_own_unless_it_goes_by_the_picture() -> None:
    assert flow_path({"shift": 3.0}).shift == 3
    assert flow_path({"shift": 3.0, "use_dynamic_shifting": True}).shift == 1
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=FLOW_STEPS, shift=3.0)
    ours = [flow_path({"shift": 3.0}).place(share / FLOW_STEPS) for share in range(1, FLOW_STEPS + 1)]
    torch.testing.assert_close(torch.tensor(ours).flip(0), scheduler.sigmas[:FLOW_STEPS])


@pytest.mark.parametrize("path", [Flow(3.0), diffusion_path({"beta_schedule": "scaled_linear"}).shifted(3.0)])
def test_a_shift_pulls_draws_and_grid_towards_noise(path: Flow) -> None:
    def mean(**options: object) -> float:
        drawn = [
            draw_timesteps(0, s, range(4), 4, (0, 1000), sampling="logit_normal", **options)  # type: ignore[arg-type]
            for s in range(200)
        ]
        return float(torch.cat(drawn).double().mean())

    assert mean() == pytest.approx(500, abs=20)
    assert mean(place=path.place) > 680
    points = {point.stratum: point.timestep for point in grid(8, (0, 1000), place=path.place)}
    assert points[0] == int(1000 * path.place(1 / 16)) and points[7] > 970
