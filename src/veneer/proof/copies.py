"""Copies of training pictures: pictures nearer to one than training pictures are to each other.

Features are rows of unit length; pictures of one prompt and seed stand opposite each other. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from veneer.proof.distances import nearest
from veneer.stats import Array, Measure, paired

COPY_QUANTILE = 0.98
"""Share of training pictures whose own nearest neighbour is less alike than the threshold."""
SAME_PICTURE = 0.1
"""Part of the median distance of training pictures below which two of them are the same picture twice."""
MIN_TRAINING_PICTURES = 4


@dataclass(frozen=True)
class Copy:
    """A tuned picture beside the training picture that it resembles most.

    Attributes:
        picture: Index of the tuned picture.
        training: Index of the training picture.
        similarity: Cosine similarity of the two, in [-1, 1].
        is_copy: Whether it is above the threshold.
    """

    picture: int
    training: int
    similarity: float
    is_copy: bool


@dataclass(frozen=True)
class Memorisation:
    """How many pictures are nearer to a training picture than training pictures are to each other.

    Attributes:
        measure: Share of such pictures, base and tuned; lower is better.
        threshold: Cosine similarity above which a picture counts.
        nearest: The nearest training picture of every tuned picture, most alike first.
    """

    measure: Measure
    threshold: float
    nearest: tuple[Copy, ...]

    @property
    def num_copies(self) -> int:
        """Tuned pictures above the threshold."""
        return sum(copy.is_copy for copy in self.nearest)


def copy_threshold(training: Array) -> float:
    """Similarity above which a picture is nearer to a training picture than two of these are to each other.

    The same picture twice in the training set must not hide copies of it: neighbours nearer than
    `SAME_PICTURE` of the usual distance are left out.

    Args:
        training: Features of the training pictures, shape (T, D), T >= `MIN_TRAINING_PICTURES`.

    Returns:
        The `COPY_QUANTILE` of the similarities to the nearest neighbour that is another picture.

    Source: Somepalli et al. 2023, "Diffusion Art or Digital Forgery?", section 5.
    """
    distances = 1 - training @ training.T
    usual = float(np.median(distances[np.triu_indices(len(training), 1)]))
    distances[distances < SAME_PICTURE * usual] = np.inf  # itself among them
    nearest_others = distances.min(axis=1)
    known = nearest_others[np.isfinite(nearest_others)]
    closest = float(np.quantile(known, 1 - COPY_QUANTILE)) if len(known) else 0.0
    return 1 - max(closest, SAME_PICTURE * usual)


def count_leaks(held_out: Array, training: Array) -> int:
    """Held-out pictures that training saw after all, as the same picture or nearly.

    Args:
        held_out: Features of the held-out pictures, shape (H, D).
        training: Features of the training pictures, shape (T, D).

    Returns:
        How many are nearer to a training picture than `SAME_PICTURE` of the usual distance.
    """
    if len(training) < MIN_TRAINING_PICTURES or not len(held_out):
        return 0
    distances = 1 - training @ training.T
    usual = float(np.median(distances[np.triu_indices(len(training), 1)]))
    return int((1 - nearest(held_out, training)[1] < SAME_PICTURE * usual).sum())


def memorisation(
    base: Array, tuned: Array, training: Array, prompts: Sequence[Hashable]
) -> Memorisation | None:
    """Look for copies of training pictures.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        training: Features of the training pictures, shape (T, D).

    Returns:
        What was found; None with fewer than `MIN_TRAINING_PICTURES` training pictures.
    """
    if len(training) < MIN_TRAINING_PICTURES:
        return None
    threshold = copy_threshold(training)
    index, similarity = nearest(tuned, training)
    before = nearest(base, training)[1]
    copies = [
        Copy(row, int(index[row]), float(similarity[row]), bool(similarity[row] > threshold))
        for row in np.argsort(-similarity)
    ]
    was, is_ = (np.asarray(one > threshold, float) for one in (before, similarity))
    measure = paired(was, is_, prompts, better="lower")
    return Memorisation(measure, threshold, tuple(copies))
