"""Groups, what a set has little of, and a diverse pick: on features whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from veneer.data.spread import Features, diverse, groups_of, lacks

NAMES = [f"{number:02d}.png" for number in range(24)]


def around(counts: tuple[int, ...], spread: float = 0.05) -> Features:
    """Unit rows around as many axes as there are counts."""
    random = np.random.default_rng(0)
    axes = np.repeat(np.eye(8)[: len(counts)], counts, axis=0)
    rows = axes + random.normal(0, spread, axes.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_pictures_of_three_kinds_are_three_groups() -> None:
    groups = groups_of(NAMES, around((10, 8, 6)))
    assert [len(group.names) for group in groups] == [10, 8, 6]
    assert set(groups[1].names) == set(NAMES[10:18])


def test_what_is_seldom_and_what_is_most_is_told() -> None:
    told = lacks(groups_of(NAMES, around((20, 2, 2))))
    assert told[0].startswith("Most of it alike: 20 of 24")
    assert [line[:22] for line in told[1:]] == ["Little of it: 2 of 24 "] * 2
    assert lacks(groups_of(NAMES, around((8, 8, 8)))) == []


def test_few_pictures_have_no_groups() -> None:
    assert groups_of(NAMES[:7], around((7,))) == ()


def test_a_pick_takes_one_of_each_kind_first_and_nothing_spoilt() -> None:
    features = around((18, 3, 3))
    pick = diverse(NAMES, features, 3, without=[NAMES[18], NAMES[22]])
    assert [sum(name in NAMES[a:b] for name in pick.names) for a, b in ((0, 18), (18, 21), (21, 24))] == [
        1
    ] * 3
    assert not {NAMES[18], NAMES[22]} & set(pick.names)
    longer = diverse(NAMES, features, 6, without=[NAMES[18], NAMES[22]])
    assert longer.names[:3] == pick.names
    assert longer.covered > pick.covered > 0.9


def test_a_pick_is_at_most_twice_as_far_as_the_best_one() -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(10, 4))
    features = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    distances = np.sqrt(np.maximum(0, 2 - 2 * features @ features.T))
    best = min(distances[list(chosen)].min(axis=0).max() for chosen in itertools.combinations(range(10), 3))
    found = diverse(NAMES[:10], features, 3)
    assert np.sqrt(2 - 2 * found.covered) <= 2 * best + 1e-6


@pytest.mark.parametrize("count", [1, 24, 99])
def test_no_more_are_picked_than_there_are(count: int) -> None:
    pick = diverse(NAMES, around((12, 12)), count)
    assert len(set(pick.names)) == len(pick.names) == min(count, 24)
    assert diverse(NAMES, around((12, 12)), count, without=NAMES).names == ()
