import numpy as np
import pytest

from helpers.features import PROMPTS, rows
from veneer.proof.copies import copy_threshold, memorisation


def test_copies_are_found_and_paired_with_what_they_copy() -> None:
    training = rows(0, n=20)
    copies = training[[3, 4, 5]] + 1e-3
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    tuned = np.vstack([copies, rows(9, n=9)])
    found = memorisation(rows(1), tuned, training, PROMPTS)
    assert {(one.picture, one.training) for one in found.nearest[:3]} == {(0, 3), (1, 4), (2, 5)}
    assert all(one.is_copy for one in found.nearest[:3])
    assert found.num_copies >= 3
    similarities = [one.similarity for one in found.nearest]
    assert similarities == sorted(similarities, reverse=True)


def test_threshold_is_the_training_sets_own() -> None:
    training = rows(0, n=40)
    own = np.sort((training @ training.T - 2 * np.eye(40)).max(1))
    assert (own > copy_threshold(training)).mean() <= 0.05


def test_the_same_picture_twice_does_not_hide_copies() -> None:
    training, again = rows(0, n=20, d=32), rows(0, n=20, d=32) + 1e-3 * rows(7, n=20, d=32)
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    copies = training[:12] + 0.01 * rows(8, n=12, d=32)
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    plain, blinded = (copy_threshold(one) for one in (training, np.vstack([training, again])))
    assert blinded == pytest.approx(plain, abs=0.1)
    found = memorisation(rows(1, d=32), copies, np.vstack([training, again]), PROMPTS)
    assert found is not None and found.num_copies == 12


def test_three_training_pictures_are_too_few() -> None:
    assert memorisation(rows(1), rows(2), rows(0, n=3), PROMPTS) is None
