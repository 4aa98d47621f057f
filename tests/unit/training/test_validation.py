"""The grid of questions."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers.indexes import cache_index, cached_item
from veneer.models.families.flow import Flow
from veneer.training.validation import BATCH, MAX_HELD_OUT_POINTS, STRATA, Validator, grid


def test_every_picture_is_asked_at_the_middle_of_every_stratum() -> None:
    points = grid(4, (0, 800))
    assert len(points) == 4 * STRATA
    for picture in range(4):
        asked = sorted(p.timestep for p in points if p.picture == picture)
        assert asked == [50, 150, 250, 350, 450, 550, 650, 750]


def test_many_pictures_share_the_strata_in_balance() -> None:
    points = grid(100, (0, 1000))
    assert len(points) <= MAX_HELD_OUT_POINTS
    assert set(Counter(p.picture for p in points).values()) == {2}
    by_stratum = Counter(p.stratum for p in points)
    assert max(by_stratum.values()) - min(by_stratum.values()) <= 2
    assert len(grid(1000, (0, 1000))) == 1000


def test_the_grid_keeps_to_the_trained_timesteps() -> None:
    assert all(500 <= p.timestep < 600 for p in grid(3, (500, 600)))


@pytest.mark.parametrize(
    ("device", "side_px", "size"),
    [("cpu", 64, BATCH), ("cuda", 64, 64), ("cuda", 512, 32), ("cuda", 1024, 8), ("cuda", 2048, BATCH)],
)
def test_an_accelerator_judges_as_many_as_fill_it(device: str, side_px: int, size: int) -> None:
    item = cached_item(split="held_out", bucket=(side_px, side_px))
    index = cache_index((item,) * 32, native_px=512)
    accelerator = SimpleNamespace(device=torch.device(device))
    objective: Any = SimpleNamespace(path=Flow())
    validator = Validator(
        None, objective, index, None, seed=0, timestep_range=(0, 1000), accelerator=accelerator
    )
    assert Counter(len(points) for points in validator._batches()) == {size: 256 // size}
