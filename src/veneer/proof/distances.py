"""Distances between sets of features: kernel distance, diversity, nearest neighbours, captions that match.

Features are rows of unit length, as `veneer.models.embedder` gives them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from veneer.intervals import MIN_UNITS, Array, Interval
from veneer.stats import Measure


def kernel_distance(x: Array, y: Array) -> float:
    """Kernel inception distance of two sets of features, by the unbiased estimator.

    The same number as torchmetrics' `KernelInceptionDistance` on these features where both sets are of one
    size. For other sizes that one averages over random subsets from the global generator; this is what the
    average tends to, so that a few held-out pictures add no noise of their own (the tests compare the two).

    Args:
        x: Features, shape (N, D), N >= 2.
        y: Features, shape (M, D), M >= 2.

    Returns:
        Squared maximum mean discrepancy under the kernel ``(x.y / D + 1)^3``; may be slightly negative.

    Raises:
        ValueError: If a set has fewer than two members.

    Source: Binkowski et al. 2018, "Demystifying MMD GANs"; Gretton et al. 2012, "A Kernel Two-Sample Test",
    lemma 6.
    """
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"kernel distance of {len(x)} and {len(y)} pictures")
    return float(
        _off_diagonal_mean(_kernel(x, x)) + _off_diagonal_mean(_kernel(y, y)) - 2 * _kernel(x, y).mean()
    )


def kernel_distances(base: Array, tuned: Array, real: Array, prompts: Sequence[Hashable]) -> Measure:
    """Kernel distance of base and tuned pictures to real ones, with an interval of the difference.

    Resampling with replacement would count a picture's likeness to itself, so the interval comes from leaving
    out one prompt at a time (jackknife).

    Args:
        base: Features of the base's pictures, shape (N, D), N >= 2.
        tuned: Features of the tuned model's, in the same order.
        real: Features of real pictures, shape (M, D), M >= 2.
        prompts: Prompt of each generated picture.

    Returns:
        The measure; lower is better, and there is no share of wins.

    Raises:
        ValueError: If a set has fewer than two members.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 11.
    """
    before, after = kernel_distance(base, real), kernel_distance(tuned, real)
    groups = np.asarray([list(dict.fromkeys(prompts)).index(prompt) for prompt in prompts])
    n = int(groups.max()) + 1
    ci95, ci99, note = None, None, f"interval not available: {n} of the {MIN_UNITS} units that it needs"
    if n >= MIN_UNITS:
        left_out = [
            kernel_distance(tuned[groups != g], real) - kernel_distance(base[groups != g], real)
            for g in range(n)
        ]
        error = float(np.sqrt((n - 1) * np.var(left_out)))
        note = "" if error > 0 else "interval not available: every unit shows the same difference"
        if error > 0:
            ci95, ci99 = (_around(after - before, error * stats.t.ppf(p, n - 1)) for p in (0.975, 0.995))
    return Measure(before, after, after - before, ci95, ci99, n, None, "lower", note=note)


def mean_pairwise_distance(features: Array) -> float:
    """Mean cosine distance between all pairs.

    Args:
        features: Normalised features, shape (N, D), N >= 2.

    Returns:
        A distance in [0, 2]; 0 where all are the same.
    """
    return 1 - _off_diagonal_mean(features @ features.T)


def matching_p_value(pictures: Array, texts: Array, *, seed: int = 0, permutations: int = 2000) -> float:
    """How probable the likeness of pictures to their own captions would be if captions were dealt at random.

    Args:
        pictures: Normalised picture features, shape (N, D), N >= 2.
        texts: Normalised caption features, shape (N, D), in the same order.
        seed: Seed of the permutations.
        permutations: How many deals are tried.

    Returns:
        One-sided p-value in (0, 1].
    """
    similarity = pictures @ texts.T
    random, n = np.random.default_rng(seed), len(pictures)
    own = float(np.trace(similarity))
    dealt = [float(similarity[np.arange(n), random.permutation(n)].sum()) for _ in range(permutations)]
    return (1 + sum(value >= own - 1e-12 for value in dealt)) / (1 + permutations)


def _around(middle: float, reach: float) -> Interval:
    return float(middle - reach), float(middle + reach)


def _kernel(x: Array, y: Array) -> Array:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3, dtype=np.float64)


def _off_diagonal_mean(square: Array) -> float:
    n = len(square)
    return float((square.sum() - np.trace(square)) / (n * (n - 1)))
