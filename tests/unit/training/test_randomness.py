"""Random numbers as a function of their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from veneer.training import randomness


def test_an_item_draws_the_same_in_any_company() -> None:
    together = randomness.normal(0, "noise", 5, [0, 1, 2], (4, 2, 2))
    alone = randomness.normal(0, "noise", 5, [2], (4, 2, 2))
    assert torch.equal(together[2:], alone)
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampling", ["uniform", "stratified", "logit_normal"])
def test_timesteps_stay_in_range_and_do_not_depend_on_the_company(sampling: Any) -> None:
    steps = range(200)
    drawn = torch.stack(
        [randomness.timesteps(0, s, range(4), 4, (100, 300), sampling=sampling) for s in steps]
    )
    assert drawn.min() >= 100
    assert drawn.max() < 300
    assert torch.equal(randomness.timesteps(0, 7, [3], 4, (100, 300), sampling=sampling), drawn[7, 3:])
    middle = ((drawn >= 150) & (drawn < 250)).float().mean()
    assert middle == pytest.approx(0.73 if sampling == "logit_normal" else 0.5, abs=0.06)


def test_stratified_timesteps_cover_every_stratum_of_a_batch() -> None:
    for step in range(20):
        drawn = randomness.timesteps(0, step, range(10), 10, (0, 1000), sampling="stratified")
        assert sorted((drawn // 100).tolist()) == list(range(10))
