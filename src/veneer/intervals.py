"""What an interval is, in one place: of means and shares, with every chance in them. Pure numpy and scipy.

The unit is the prompt, not the picture: pictures of one prompt are not independent. What else is a matter of
chance, such as seeds that prompts share or which pictures were held out, comes in as a `Chance`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]
Interval = tuple[float, float]
MIN_UNITS = 5
"""Fewest units that get an interval: the smallest sample of four leaves its range one time in eight."""
RESAMPLES = 9999
NO_SPREAD = 1e-12
"""Deviation of a mean below which it is taken for the same number in every unit."""


@dataclass(frozen=True)
class Chance:
    """A source of chance in a mean, beside its units.

    Attributes:
        variance: What it adds to the variance of the mean, >= 0.
        freedom: Degrees of freedom that the variance was estimated with, >= 1.
    """

    variance: float
    freedom: float


def least_share(base: Array, tuned: Array, *, seed: int = 0, level: float = 0.95) -> float | None:
    """Share of the base's mean that is left at least: the lower end of the interval of a ratio.

    A unit with much to lose loses much, so the spread of differences hides what all units keep; the spread
    around a ratio does not.

    Args:
        base: One number for each unit, >= 0, shape (n,).
        tuned: The same for the tuned model, >= 0.
        level: How often the two-sided interval covers the true ratio.

    Returns:
        In [0, tuned / base]; None without an interval, or where the base has nothing to lose.

    Source: Fieller 1954, "Some Problems in Interval Estimation": the ratios that a test of
    ``tuned - ratio * base`` does not exclude.
    """
    if len(base) < MIN_UNITS or float(base.mean()) <= NO_SPREAD:
        return None

    def room(ratio: float) -> float:
        interval, _ = mean_interval(tuned - ratio * base, seed=seed, level=level)
        return interval[0] if interval else 0.0

    found = float(tuned.mean() / base.mean())
    if room(0.0) <= 0:
        return 0.0
    return found if room(found) >= 0 else float(optimize.brentq(room, 0.0, found, xtol=1e-3))


def mean_interval(
    values: Array, *, seed: int = 0, level: float = 0.95, also: Sequence[Chance] = ()
) -> tuple[Interval | None, str]:
    """Interval of a mean: the wider of a t interval and a bootstrap interval, at either end.

    A bootstrap of five to seven values has no tails to draw from, and a t interval knows nothing of skew.
    Where every unit shows the same difference the interval is that value.

    Args:
        values: Independent values, shape (n,).
        seed: Seed of the resampling.
        level: How often the interval covers the true mean, in (0, 1).
        also: Chances in the mean that the spread of the values does not show.

    Returns:
        The interval and an empty text, or None and the reason why there is none.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap" (expanded percentile interval);
    Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance Components".
    """
    n, middle = len(values), float(np.mean(values)) if len(values) else 0.0
    if n < MIN_UNITS:
        return None, f"interval not available: {n} of the {MIN_UNITS} units that it needs"
    own = Chance(float(np.var(values, ddof=1)) / n, n - 1)
    reach = _t_reach([own, *also], level)
    low, high = middle - reach, middle + reach
    if own.variance > NO_SPREAD**2:
        stretch = np.sqrt(1 + sum(one.variance for one in also) / own.variance)
        below, above = _bootstrap(values, level, seed)
        low = min(low, middle + (below - middle) * stretch)
        high = max(high, middle + (above - middle) * stretch)
    return (float(low), float(high)), ""


def _t_reach(chances: Sequence[Chance], level: float) -> float:
    """Half the width of a t interval, its degrees of freedom put together from all sources of chance."""
    whole = sum(one.variance for one in chances)
    if whole <= NO_SPREAD**2:
        return 0.0
    freedom = whole**2 / sum(one.variance**2 / one.freedom for one in chances)
    return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(whole))


def _bootstrap(values: Array, level: float, seed: int) -> Interval:
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=expanded_level(len(values), level),
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def shared_seeds(differences: Array, prompts: Sequence[Hashable], seeds: Sequence[Hashable]) -> Chance | None:
    """What the choice of seeds adds to the variance of the mean, where several prompts share seeds.

    A seed that turns the pictures of every prompt the same way is not averaged out by more prompts.

    Args:
        differences: Difference of each picture, shape (N,).

    Returns:
        The chance; None where no two seeds are shared, so that it cannot be told.

    Source: Searle, Casella & McCulloch 1992, "Variance Components", chapter 4 (crossed random effects).
    """
    groups = list(dict.fromkeys(prompts))
    index = np.asarray([groups.index(prompt) for prompt in prompts])
    counts = np.bincount(index)
    means = np.bincount(index, weights=differences) / counts
    pulls = (differences - means[index]) / (len(groups) * counts[index])
    by_seed: dict[Hashable, list[int]] = {}
    for row, one in enumerate(seeds):
        by_seed.setdefault(one, []).append(row)
    shared = [rows for rows in by_seed.values() if len(set(index[rows])) > 1]
    if len(shared) < 2:
        return None
    excess = sum(float(pulls[rows].sum() ** 2 - (pulls[rows] ** 2).sum()) for rows in shared)
    return Chance(max(0.0, excess) * len(shared) / (len(shared) - 1), len(shared) - 1)


def expanded_level(n: int, level: float = 0.95) -> float:
    """Nominal level at which a percentile interval of n values covers what a t interval covers.

    Args:
        n: Sample size, >= 2.
        level: Coverage wanted, in (0, 1).

    Returns:
        A level above ``level`` that tends to it as n grows.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap" (expanded percentile interval).
    """
    tail = (1 - level) / 2
    reach = np.sqrt(n / (n - 1)) * stats.t.ppf(1 - tail, n - 1)
    return float(1 - 2 * stats.norm.sf(reach))
