"""Intervals of many looks hold together."""

import numpy as np
import pytest
from scipy import stats

from veneer.stats import Measure, paired
from veneer.trials.looks import interval_for_looks


def measured(differences: np.ndarray) -> Measure:
    prompts = list(range(len(differences)))
    return paired(np.zeros(len(differences)), differences, prompts)


def test_one_look_is_the_plain_interval_and_more_are_wider() -> None:
    measure = measured(np.random.default_rng(0).normal(0.1, 1.0, 12))
    assert interval_for_looks(measure, 1) == pytest.approx(measure.ci95)
    widths = [high - low for low, high in (interval_for_looks(measure, looks) for looks in (1, 4, 16))]
    assert widths[0] < widths[1] < widths[2]


def test_five_looks_are_as_wide_as_the_99_percent_interval() -> None:
    measure = measured(np.random.default_rng(1).normal(0.0, 1.0, 10))
    assert interval_for_looks(measure, 5) == pytest.approx(measure.ci99, rel=0.05)


def test_gains_are_better_where_larger_whatever_the_measure() -> None:
    values = np.random.default_rng(2).normal(-0.5, 1.0, 10)
    measure = paired(np.zeros(10), values, list(range(10)), better="lower")
    low, high = interval_for_looks(measure, 3)
    assert low < -values.mean() < high


def test_of_twenty_trials_that_do_nothing_one_seems_to_in_at_most_five_of_a_hundred_sweeps() -> None:
    rng, n, trials, sweeps = np.random.default_rng(3), 8, 20, 200
    reaches = [stats.t.ppf(p, n - 1) / n**0.5 for p in (0.975, 0.995)]
    seen = plain = 0
    for _ in range(sweeps):
        lows, looked = [], []
        for values in rng.normal(0, 1, (trials, n)):
            mean, spread = values.mean(), values.std(ddof=1)
            ci95, ci99 = ((mean - one * spread, mean + one * spread) for one in reaches)
            measure = Measure(0, mean, mean, ci95, ci99, n, 0.5, "higher")
            lows.append(interval_for_looks(measure, trials)[0])
            looked.append(ci95[0])
        seen += max(lows) > 0
        plain += max(looked) > 0
    assert plain / sweeps > 0.3  # the luckiest of twenty, taken at its word
    assert seen / sweeps <= 0.05


def test_no_interval_stays_none() -> None:
    assert interval_for_looks(measured(np.ones(3)), 4) is None
