from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import t

from veneer import intervals, stats


def _intervals(rows: np.ndarray) -> Iterator[tuple[float, float]]:
    for row in rows:
        found, _ = intervals.mean_interval(row, level=0.99)
        assert found is not None
        yield found


def test_interval_is_never_narrower_than_the_t_interval() -> None:
    values = np.random.default_rng(0).normal(size=6)
    found, _ = intervals.mean_interval(values)
    reach = t.ppf(0.975, 5) * values.std(ddof=1) / 6**0.5
    assert found is not None
    assert found[0] <= values.mean() - reach + 1e-12
    assert found[1] >= values.mean() + reach - 1e-12


def test_a_further_chance_widens_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=10)
    alone, _ = intervals.mean_interval(values)
    wide, _ = intervals.mean_interval(values, also=[intervals.Chance(0.5, 3)])
    only, _ = intervals.mean_interval(np.full(10, 0.3), also=[intervals.Chance(0.25, 4)])
    assert alone is not None and wide is not None and only is not None
    assert wide[0] < alone[0] and wide[1] > alone[1]
    assert only[1] - 0.3 == pytest.approx(0.5 * t.ppf(0.975, 4))


def test_seeds_that_turn_every_prompt_alike_are_a_chance_of_their_own() -> None:
    random = np.random.default_rng(0)
    prompts = [p for p in range(12) for _ in range(3)]
    seeds = [s for _ in range(12) for s in range(3)]
    noise = random.normal(0, 0.1, 36)
    turn = np.array([-1.0, 0.2, 0.8])
    assert intervals.shared_seeds(noise, prompts, range(36)) is None
    shared = intervals.shared_seeds(noise + turn[seeds], prompts, seeds)
    assert shared is not None
    assert shared.variance == pytest.approx(turn.var(ddof=1) / 3, rel=0.2)
    quiet = stats.paired(np.zeros(36), noise + turn[seeds], prompts)
    told = stats.paired(np.zeros(36), noise + turn[seeds], prompts, seeds=seeds)
    assert quiet.ci95 is not None and told.ci95 is not None
    assert told.ci95[1] - told.ci95[0] > 5 * (quiet.ci95[1] - quiet.ci95[0])


@pytest.mark.parametrize("n", [6, 10, 30])
def test_interval_covers_as_often_as_it_says(n: int) -> None:
    random = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        (low, high), _ = intervals.mean_interval(random.normal(size=n), seed=trial)
        hits += low <= 0 <= high
    assert hits / 300 > 0.92


def test_expanded_level_tends_to_the_nominal_one() -> None:
    levels = [intervals.expanded_level(n) for n in (5, 10, 100, 100_000)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(0.95, abs=1e-4)


def test_least_share_is_the_ratio_that_a_test_does_not_exclude() -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 1.5, 40)
    tuned = 0.6 * base + random.normal(0, 0.02, 40)
    least = intervals.least_share(base, tuned)
    assert least is not None and 0.58 < least < 0.6
    interval, _ = intervals.mean_interval(tuned - least * base)
    assert interval is not None and interval[0] == pytest.approx(0, abs=2e-3)


def test_least_share_sees_through_units_that_differ_in_size() -> None:
    """Two prompts carry nearly all of it and all lose the same part: the difference tells nothing."""
    base = np.array([0.42, 0.34, *np.linspace(0.01, 0.06, 14)])
    tuned = 0.7 * base
    difference = stats.paired(base, tuned, range(16))
    assert not difference.holds(base.mean() * (1 - 0.55))
    assert intervals.least_share(base, tuned) == pytest.approx(0.7, abs=2e-3)


def test_least_share_covers_the_true_ratio() -> None:
    random = np.random.default_rng(1)
    above = 0
    for seed in range(100):
        base = random.gamma(0.8, 0.15, 12)
        tuned = random.gamma(0.8, 0.15, 12) * 0.6
        least = intervals.least_share(base, tuned, seed=seed)
        assert least is not None
        above += least > 0.6
    assert above <= 5


@pytest.mark.parametrize(
    ("base", "tuned", "least"),
    [
        ([0.0] * 8, [0.1] * 8, None),
        ([0.1] * 4, [0.1] * 4, None),
        ([0.1] * 8, [0.0] * 8, 0.0),
        ([0.1] * 8, [0.05] * 8, 0.5),
    ],
    ids=["nothing to lose", "too few", "all lost", "half of each"],
)
def test_least_share_at_the_ends(base: list[float], tuned: list[float], least: float | None) -> None:
    assert intervals.least_share(np.array(base), np.array(tuned)) == (
        least if least is None else pytest.approx(least)
    )


@pytest.mark.parametrize("n", [5, 7])
def test_sure_intervals_of_few_units_leave_zero_out_as_seldom_as_they_say(n: int) -> None:
    """Bootstrap intervals alone leave zero out in 7.5, 3.8 and 3.1 % with five to seven units."""
    random = np.random.default_rng(n)
    missed = sum(not low <= 0 <= high for low, high in _intervals(random.normal(size=(150, n))))
    assert missed <= 5  # 1.5 are due
