"""How large an effect was, and what the power table promises for one as large."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.effects import fall, promised, signal, way
from veneer.stats import Measure

STYLE = Measure(
    base=0.5, tuned=0.6, delta=0.1, ci95=None, ci99=None, n=8, wins=None, better="higher", ideal=0.7
)
TABLE = {
    "0.1, 0.0": {"signal": 0.2, "fall": 0.0, "nearer": 0.2, "better": 0.2},
    "0.4, 0.0": {"signal": 0.8, "fall": 0.0, "nearer": 0.8, "better": 0.6},
    "0.1, 0.1": {"signal": 0.2, "fall": 0.1, "nearer": 0.2},
    "0.4, 0.1": {"signal": 0.8, "fall": 0.1, "nearer": 0.6, "better": 0.2},
}


def test_a_way_that_is_short_by_chance_does_not_draw_it_up() -> None:
    short = replace(STYLE, base=0.69, tuned=0.79)  # of its own way that is ten times the whole
    assert way([STYLE]) == pytest.approx(0.5)
    assert way([STYLE, short]) == pytest.approx(0.2 / 0.21)
    assert way([replace(STYLE, ideal=None)]) == 0


def test_the_gain_is_measured_by_the_one_that_would_just_be_sure() -> None:
    edge, far = (replace(STYLE, sure=(0.1 - reach, 0.1 + reach)) for reach in (0.1, 0.05))
    assert signal([[edge]]) == pytest.approx(1)
    assert signal([[edge], [far]]) == pytest.approx(2)
    assert signal([[replace(far, least=0.05)]]) == pytest.approx(1)
    assert signal([[STYLE]]) == signal([[]]) == 0


def test_subjects_lost_are_those_that_are_found_no_more() -> None:
    assert fall([replace(STYLE, delta=-0.1), replace(STYLE, delta=0.0)]) == pytest.approx(0.05)


def test_nothing_is_promised_beyond_the_table() -> None:
    assert promised(TABLE, 0.81, 0.0) == {"better": None, "nearer": None}


@pytest.mark.parametrize(
    ("gain", "lost", "better", "nearer"),
    [
        (0.2, 0.0, 0.2, 0.2),
        (0.5, 0.0, 0.4, 0.5),
        (0.5, 0.1, 0.1, 0.4),
        (0.5, 0.05, 0.25, 0.45),
        (0.8, -1, 0.6, 0.8),
    ],
)
def test_a_promise_is_read_between_rows(gain: float, lost: float, better: float, nearer: float) -> None:
    assert promised(TABLE, gain, lost) == pytest.approx({"better": better, "nearer": nearer})
