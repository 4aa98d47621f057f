from typing import Any

import numpy as np
import pytest

from veneer import stats
from veneer.errors import RunError


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


def test_measure_is_written_and_read() -> None:
    measure = stats.paired([0.0] * 6, [0.25, 0.5, 0.75, 0.25, 0.5, 0.75], range(6))
    assert stats.measure_from(measure.plain()).plain() == measure.plain()


@pytest.mark.parametrize(
    "odd",
    [
        *({"delta": "x"}, {"base": None}, {"ci95": 7}, {"ci95": "x"}, {"ci99": [1]}, {"sure": [[], 1]}),
        *({"n": "many"}, {"tuned": 10**400}, {"better": "x"}, {"least": {}}, {"ideal": []}, None),
    ],
)
def test_a_measure_that_was_changed_by_hand_is_told(odd: dict[str, Any] | None) -> None:
    """It ended `compare`, `report` and `sweep` as an unexpected fault."""
    plain = stats.paired([0.0] * 6, [0.25, 0.5, 0.75, 0.25, 0.5, 0.75], range(6)).plain()
    with pytest.raises(RunError, match="a measure is damaged"):
        stats.measure_from({"base": 0.1} if odd is None else {**plain, **odd})
