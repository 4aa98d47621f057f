from dataclasses import replace

import numpy as np

from helpers.features import PROMPTS
from veneer.proof.copies import count_leaks, memorisation
from veneer.proof.layout import Layouts


def seen(copied: dict[int, int], n: int = 12, t: int = 20) -> Layouts:
    """Tuned pictures of which some lie as a training picture does."""
    tuned = np.random.default_rng(1).uniform(0, 0.8, (n, t))
    for picture, training in copied.items():
        tuned[picture, training] = 0.99 - 0.001 * picture
    return Layouts(np.random.default_rng(0).uniform(0, 0.8, (n, t)), tuned, 0.9)


def test_copies_are_found_and_paired_with_what_they_copy() -> None:
    found = memorisation(seen({0: 3, 1: 4, 2: 5}), PROMPTS)
    assert [(one.picture, one.training) for one in found.nearest[:3]] == [(0, 3), (1, 4), (2, 5)]
    assert [one.is_copy for one in found.nearest] == [True] * 3 + [False] * 9
    assert found.num_copies == 3
    assert (found.measure.base, found.measure.tuned) == (0, 0.25)
    similarities = [one.similarity for one in found.nearest]
    assert similarities == sorted(similarities, reverse=True)


def test_no_copy_is_no_copy() -> None:
    found = memorisation(seen({}), PROMPTS)
    assert found.num_copies == 0
    assert found.measure.ci95 == (0, 0)


def test_held_out_pictures_that_training_saw_are_counted() -> None:
    held_out = np.random.default_rng(3).uniform(0, 0.8, (6, 20))
    assert count_leaks(replace(seen({}), held_out=held_out)) == 0
    held_out[[0, 1], [3, 4]] = 0.95
    assert count_leaks(replace(seen({}), held_out=held_out)) == 2
    assert count_leaks(seen({})) == 0
