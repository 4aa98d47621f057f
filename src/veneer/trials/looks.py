"""Intervals that several looks share, so that the best of many trials is not taken for more than it is."""

from __future__ import annotations

import functools

import numpy as np
from scipy import stats

from veneer.intervals import NO_SPREAD, Array, Interval
from veneer.stats import Measure


def interval_for_looks(measure: Measure, looks: int) -> Interval | None:
    """Interval of the gain that holds together with those of other looks, 95 times in 100.

    Whoever picks the best of several looks picks, in part, the luckiest; each interval is widened for the
    number of looks (Bonferroni). The tails are those of a t distribution whose degrees of freedom make the
    99 % interval as much wider than the 95 % one as it is.

    Args:
        looks: Measures that are looked at, from 1.

    Returns:
        Ends of the gain, which is better where larger; None where the measure has no interval.
    """
    if measure.ci95 is None:
        return None
    stretch = _stretch(measure, 1 - 0.05 / looks)
    low, high = measure.gain_of(measure.ci95)
    return measure.gain - stretch * (measure.gain - low), measure.gain + stretch * (high - measure.gain)


def _stretch(measure: Measure, level: float) -> float:
    """How much wider an interval at a level is than the 95 % one."""
    freedom = _known_freedom(measure)
    return float(stats.t.ppf((1 + level) / 2, freedom) / stats.t.ppf(0.975, freedom))


def _known_freedom(measure: Measure) -> float:
    """Degrees of freedom, 1 to n - 1, by the widths of the two intervals."""
    most = max(1.0, measure.n - 1.0)
    if measure.ci95 is None or measure.ci99 is None:
        return most
    widths = [high - low for low, high in (measure.ci95, measure.ci99)]
    if widths[0] <= NO_SPREAD:
        return most
    freedoms, ratios = _table()
    return min(most, float(freedoms[np.argmin(np.abs(ratios - widths[1] / widths[0]))]))


@functools.cache
def _table() -> tuple[Array, Array]:
    """Degrees of freedom, and how much wider the 99 % interval is than the 95 % one with each."""
    freedoms = np.geomspace(1.0, 10_000.0, 500)
    return freedoms, stats.t.ppf(0.995, freedoms) / stats.t.ppf(0.975, freedoms)
