"""Copies of training pictures, and held-out pictures that training saw after all. Pure numpy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from veneer.proof.layout import Layouts
from veneer.stats import Measure, paired

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


def count_leaks(seen: Layouts) -> int:
    """Held-out pictures that training saw after all: as they are, moved, mirrored, or a little closer.

    Returns:
        How many lie as a training picture does, above the threshold for copies.
    """
    return int((seen.held_out.max(axis=1) > seen.threshold).sum())


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
