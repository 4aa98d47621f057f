from xml.etree import ElementTree

import pytest

from veneer.proof import charts
from veneer.proof.history import Curve

FALLING = Curve(tuple(range(1, 2001)), tuple(1 / step for step in range(1, 2001)))


def test_chart_is_an_svg_in_the_pages_colours() -> None:
    svg = charts.draw_chart(
        'Loss & "more"', [charts.Line("loss", FALLING)], chosen_step=500, logarithmic=True
    )
    element = ElementTree.fromstring(svg)
    assert element.get("aria-label") == 'Loss & "more"'
    assert "var(--first)" in svg
    assert not any(colour in svg for colour in charts.VARIABLES)
    assert len(svg) < 40_000


def test_same_chart_gives_the_same_text() -> None:
    lines = [
        charts.Line("loss", FALLING),
        charts.Line("held-out", Curve((0, 500), (0.5, 0.4)), has_dots=True),
    ]
    assert charts.draw_chart("Loss", lines) == charts.draw_chart("Loss", lines)


def test_nothing_to_draw_gives_nothing() -> None:
    assert charts.draw_chart("Loss", [charts.Line("loss", Curve((), ()))]) == ""


def test_long_curves_are_thinned_by_means() -> None:
    steps, values = charts.thin_out(Curve(tuple(range(960)), (2.0,) * 960))
    assert len(steps) == len(values) == charts.MAX_POINTS
    assert steps[0] == pytest.approx(1.5)
    assert set(values) == {2.0}
