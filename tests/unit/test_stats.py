import numpy as np
import pytest

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


def test_equal_differences_have_no_interval() -> None:
    measure = stats.paired([0.0] * 9, [0.5] * 9, range(9))
    assert measure.ci95 is None
    assert "same difference" in measure.note


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
