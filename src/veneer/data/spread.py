"""How a data set spreads over what an embedder sees: groups, what it has little of, and a diverse pick.

Features are rows of unit length, so the cosine of two pictures is the product of their rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

Features = NDArray[np.float32]
FEWEST_TO_GROUP = 8
"""Pictures below which groups say nothing."""
MOST_GROUPS = 12
THIN = 1 / 3
"""A group with less than this part of an even share is told of."""


@dataclass(frozen=True)
class Alike:
    """Pictures that look alike to the embedder.

    Attributes:
        names: The pictures, the most typical first.
    """

    names: tuple[str, ...]


@dataclass(frozen=True)
class Pick:
    """Pictures that together show most of what a data set shows.

    Attributes:
        names: In the order of their worth: any first part of them is a pick too.
        covered: Cosine similarity to the pick of the picture that it stands for worst, in [-1, 1].
    """

    names: tuple[str, ...]
    covered: float


def groups_of(names: Sequence[str], features: Features) -> tuple[Alike, ...]:
    """Sort pictures into groups by what they show, the largest first.

    Args:
        features: Shape (N, D).

    Returns:
        About the square root of half as many groups as pictures, 12 at most; none of few pictures.

    Source: Arthur and Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding".
    """
    if len(names) < FEWEST_TO_GROUP:
        return ()
    count = min(MOST_GROUPS, max(2, round(math.sqrt(len(names) / 2))))
    centres, labels = kmeans2(features.astype(np.float64), count, minit="++", seed=0, missing="warn")
    found = []
    for number in range(count):
        members = np.flatnonzero(labels == number)
        nearest = members[np.argsort(-(features[members] @ centres[number]), kind="stable")]
        found.append(Alike(tuple(names[index] for index in nearest)))
    return tuple(sorted((one for one in found if one.names), key=lambda one: (-len(one.names), one.names)))


def lacks(groups: Sequence[Alike]) -> list[str]:
    """What a data set has little of, as sentences: groups that are small beside the others."""
    total = sum(len(group.names) for group in groups)
    if not total:
        return []
    even = total / len(groups)
    thin = [
        f"Little of it: {len(group.names)} of {total} pictures are like {group.names[0]}."
        for group in groups
        if len(group.names) < THIN * even
    ]
    largest = groups[0]
    if len(largest.names) > total / 2:
        thin.insert(
            0, f"Most of it alike: {len(largest.names)} of {total} pictures are like {largest.names[0]}."
        )
    return thin


def diverse(names: Sequence[str], features: Features, count: int, without: Collection[str] = ()) -> Pick:
    """Pick pictures that differ most: the most typical one, then ever the one farthest from all picked.

    Args:
        features: Shape (N, D).
        count: How many to pick, >= 1; fewer are picked where there are no more.
        without: Pictures that are not picked, such as blurred ones; how well they are stood for counts.

    Returns:
        The pick. At most twice as far from the worst picture as the best pick of this size.

    Source: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".
    """
    allowed = np.array([name not in without for name in names], bool)
    if not allowed.any():
        return Pick((), -1.0)
    typical = np.where(allowed, features @ features.mean(axis=0), -np.inf)
    picked = [int(np.argmax(typical))]
    nearest = features @ features[picked[0]]
    while len(picked) < min(count, int(allowed.sum())):
        left = np.where(allowed, nearest, np.inf)
        left[picked] = np.inf
        picked.append(int(np.argmin(left)))
        nearest = np.maximum(nearest, features @ features[picked[-1]])
    return Pick(tuple(names[index] for index in picked), float(nearest.min()))
