"""Copies of training pictures, and held-out pictures that training saw after all. Pure numpy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from veneer.intervals import Array
from veneer.proof.distances import nearest
from veneer.proof.layout import Layouts
from veneer.stats import Measure, paired

SAME_PICTURE = 0.1
"""Part of the median distance of training pictures below which two of them are the same picture twice."""
MIN_TRAINING_PICTURES = 4


@dataclass(frozen=True)
class Copy:
    """A tuned picture beside the training picture that it resembles most.

    Attributes:
        picture: Index of the tuned picture.
        training: Index of the training picture.
        similarity: Likeness of their layouts, in [-1, 1] (`veneer.proof.layout`).
        is_copy: Whether it is above the threshold.
    """

    picture: int
    training: int
    similarity: float
    is_copy: bool


@dataclass(frozen=True)
class Memorisation:
    """How many pictures are training pictures come back.

    Attributes:
        measure: Share of such pictures, base and tuned; lower is better.
        threshold: Likeness above which a picture counts.
        nearest: The nearest training picture of every tuned picture, most alike first.
    """

    measure: Measure
    threshold: float
    nearest: tuple[Copy, ...]

    @property
    def num_copies(self) -> int:
        """Tuned pictures above the threshold."""
        return sum(copy.is_copy for copy in self.nearest)


def count_leaks(held_out: Array, training: Array) -> int:
    """Held-out pictures that training saw after all, as the same picture or nearly.

    Args:
        held_out: Features of the held-out pictures, rows of unit length, shape (H, D).
        training: Features of the training pictures, shape (T, D).

    Returns:
        How many are nearer to a training picture than `SAME_PICTURE` of the usual distance.
    """
    if len(training) < MIN_TRAINING_PICTURES or not len(held_out):
        return 0
    distances = 1 - training @ training.T
    usual = float(np.median(distances[np.triu_indices(len(training), 1)]))
    return int((1 - nearest(held_out, training)[1] < SAME_PICTURE * usual).sum())


def memorisation(seen: Layouts, prompts: Sequence[Hashable]) -> Memorisation:
    """Look for copies of training pictures.

    Args:
        seen: Likeness of base's and tuned pictures to the training pictures, N pairs.
        prompts: Prompt of each pair, N.
    """
    index, likeness = seen.tuned.argmax(axis=1), seen.tuned.max(axis=1)
    copies = [
        Copy(row, int(index[row]), float(likeness[row]), bool(likeness[row] > seen.threshold))
        for row in np.argsort(-likeness)
    ]
    was, is_ = (np.asarray(one.max(axis=1) > seen.threshold, float) for one in (seen.base, seen.tuned))
    return Memorisation(paired(was, is_, prompts, better="lower"), seen.threshold, tuple(copies))
