from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import t

from veneer import stats


def test_paired_gives_means_delta_and_wins() -> None:
    measure = stats.paired([0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, -1], list("abcdef"))
    assert measure.base == 0
    assert measure.delta == pytest.approx(14 / 6)
    assert measure.wins == pytest.approx(5 / 6)
    assert measure.n == 6
    assert measure.ci95[0] < measure.delta < measure.ci95[1]


def test_pictures_of_one_prompt_are_one_unit() -> None:
    measure = stats.paired([0] * 12, range(12), [p for p in "abcdef" for _ in range(2)])
    assert measure.n == 6
    assert measure.unit == "prompts"


def test_few_prompts_fall_back_to_pictures_and_say_so() -> None:
    measure = stats.paired([0] * 6, range(6), ["a"] * 6)
    assert (measure.n, measure.unit) == (6, "pictures")
    assert "only 1 prompts" in measure.note


@pytest.mark.parametrize("values", [[0.3], [0.1, 0.2, 0.3, 0.4]])
def test_too_few_units_have_no_interval(values: list[float]) -> None:
    measure = stats.paired([0.0] * len(values), values, range(len(values)))
    assert measure.ci95 is None
    assert "not available" in measure.note
    assert not measure.rises
    assert not measure.falls
    assert not measure.holds(10)


def test_where_every_unit_shows_the_same_difference_that_is_the_interval() -> None:
    up, none = (stats.paired([0.0] * 9, [value] * 9, range(9)) for value in (0.5, 0.0))
    assert up.ci95 == up.ci99 == up.sure == (0.5, 0.5)
    assert up.rises
    assert none.ci95 == (0.0, 0.0)
    assert not (none.rises or none.falls)
    assert none.holds(0.01)


@pytest.mark.parametrize("n", [5, 7])
def test_sure_intervals_of_few_units_leave_zero_out_as_seldom_as_they_say(n: int) -> None:
    """Bootstrap intervals alone leave zero out in 7.5, 3.8 and 3.1 % with five to seven units."""
    random = np.random.default_rng(n)
    missed = sum(not low <= 0 <= high for low, high in _intervals(random.normal(size=(150, n))))
    assert missed <= 5  # 1.5 are due


def _intervals(rows: np.ndarray) -> Iterator[tuple[float, float]]:
    for row in rows:
        found, _ = stats.mean_interval(row, level=0.99)
        assert found is not None
        yield found


def test_interval_is_never_narrower_than_the_t_interval() -> None:
    values = np.random.default_rng(0).normal(size=6)
    found, _ = stats.mean_interval(values)
    reach = t.ppf(0.975, 5) * values.std(ddof=1) / 6**0.5
    assert found is not None
    assert found[0] <= values.mean() - reach + 1e-12
    assert found[1] >= values.mean() + reach - 1e-12


def test_a_further_chance_widens_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=10)
    alone, _ = stats.mean_interval(values)
    wide, _ = stats.mean_interval(values, also=[stats.Chance(0.5, 3)])
    only, _ = stats.mean_interval(np.full(10, 0.3), also=[stats.Chance(0.25, 4)])
    assert alone is not None and wide is not None and only is not None
    assert wide[0] < alone[0] and wide[1] > alone[1]
    assert only[1] - 0.3 == pytest.approx(0.5 * t.ppf(0.975, 4))


def test_seeds_that_turn_every_prompt_alike_are_a_chance_of_their_own() -> None:
    random = np.random.default_rng(0)
    prompts = [p for p in range(12) for _ in range(3)]
    seeds = [s for _ in range(12) for s in range(3)]
    noise = random.normal(0, 0.1, 36)
    turn = np.array([-1.0, 0.2, 0.8])
    assert stats.shared_seeds(noise, prompts, range(36)) is None
    shared = stats.shared_seeds(noise + turn[seeds], prompts, seeds)
    assert shared is not None
    assert shared.variance == pytest.approx(turn.var(ddof=1) / 3, rel=0.2)
    quiet = stats.paired(np.zeros(36), noise + turn[seeds], prompts)
    told = stats.paired(np.zeros(36), noise + turn[seeds], prompts, seeds=seeds)
    assert quiet.ci95 is not None and told.ci95 is not None
    assert told.ci95[1] - told.ci95[0] > 5 * (quiet.ci95[1] - quiet.ci95[0])


def test_share_of_the_way_has_an_interval() -> None:
    measure = stats.paired([0.5] * 6, [0.6, 0.58, 0.62, 0.6, 0.61, 0.59], range(6), ideal=0.7)
    assert measure.share == pytest.approx(0.5)
    low, high = measure.share_ci95 or (0, 0)
    assert low < 0.5 < high
    assert stats.paired([0.5] * 6, [0.6] * 6, range(6), ideal=0.5).share is None


def test_units_that_would_tell() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(0, 0.05, 8)
    measure = stats.paired(np.zeros(8), differences - differences.mean(), range(8))
    needed = stats.units_needed(measure, 0.02)
    assert needed is not None and needed > 8
    assert (stats.units_needed(measure, 0.01) or 1000) > needed
    assert stats.units_needed(stats.paired([0.0] * 8, [-1.0] * 8, range(8)), 0.1) is None


def test_file_of_an_older_version_is_read() -> None:
    old = {
        "base": 0.5, "tuned": 0.6, "delta": 0.1, "ci95": [0.05, 0.15], "ci99": [0.02, 0.18],
        "n": 6, "wins": 1, "better": "higher", "unit": "prompts", "note": "",
    }  # fmt: skip
    assert stats.measure_from(old).rises


def test_ties_count_half() -> None:
    assert stats.win_share(np.zeros(4), np.asarray([0.0, 0.0, 1.0, -1.0]), "higher") == 0.5


def test_direction_turns_the_sign() -> None:
    measure = stats.paired([1.0] * 6, [0.5, 0.6, 0.4, 0.5, 0.55, 0.45], range(6), better="lower")
    assert measure.rises
    assert measure.gain > 0 > measure.delta
    assert measure.wins == 1


@pytest.mark.parametrize("bad", [([], []), ([1.0], [1.0, 2.0]), ([float("nan")], [1.0])])
def test_bad_values_are_refused(bad: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError):
        stats.paired(bad[0], bad[1], range(len(bad[0])))


@pytest.mark.parametrize("n", [6, 10, 30])
def test_interval_covers_as_often_as_it_says(n: int) -> None:
    random = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        (low, high), _ = stats.mean_interval(random.normal(size=n), seed=trial)
        hits += low <= 0 <= high
    assert hits / 300 > 0.92


def test_expanded_level_tends_to_the_nominal_one() -> None:
    levels = [stats.expanded_level(n) for n in (5, 10, 100, 100_000)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(0.95, abs=1e-4)


def test_measure_is_written_and_read() -> None:
    measure = stats.paired([0.0] * 6, [0.25, 0.5, 0.75, 0.25, 0.5, 0.75], range(6))
    assert stats.measure_from(measure.plain()).plain() == measure.plain()


def test_least_share_is_the_ratio_that_a_test_does_not_exclude() -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 1.5, 40)
    tuned = 0.6 * base + random.normal(0, 0.02, 40)
    least = stats.least_share(base, tuned)
    assert least is not None and 0.58 < least < 0.6
    interval, _ = stats.mean_interval(tuned - least * base)
    assert interval is not None and interval[0] == pytest.approx(0, abs=2e-3)


def test_least_share_sees_through_units_that_differ_in_size() -> None:
    """Two prompts carry nearly all of it and all lose the same part: the difference tells nothing."""
    base = np.array([0.42, 0.34, *np.linspace(0.01, 0.06, 14)])
    tuned = 0.7 * base
    difference = stats.paired(base, tuned, range(16))
    assert not difference.holds(base.mean() * (1 - 0.55))
    assert stats.least_share(base, tuned) == pytest.approx(0.7, abs=2e-3)


def test_least_share_covers_the_true_ratio() -> None:
    random = np.random.default_rng(1)
    above = 0
    for seed in range(100):
        base = random.gamma(0.8, 0.15, 12)
        tuned = random.gamma(0.8, 0.15, 12) * 0.6
        least = stats.least_share(base, tuned, seed=seed)
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
    assert stats.least_share(np.array(base), np.array(tuned)) == (
        least if least is None else pytest.approx(least)
    )
