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
    assert "#" not in svg
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


def test_points_lie_where_their_values_are() -> None:
    svg = charts.draw_chart("Loss", [charts.Line("loss", Curve((0, 10), (1.0, 2.0)))])
    (line,) = ElementTree.fromstring(svg).findall("polyline")
    (left, low), (right, high) = (map(float, point.split(",")) for point in line.get("points", "").split())
    assert (left, right) == (charts.LEFT, charts.WIDTH - charts.RIGHT)
    assert charts.TOP < high < low < charts.HEIGHT - charts.BOTTOM


def test_equal_factors_are_equal_distances_on_a_logarithmic_axis() -> None:
    curve = Curve((1, 2, 3), (0.01, 0.1, 1.0))
    svg = charts.draw_chart("Norm", [charts.Line("norm", curve)], logarithmic=True)
    (line,) = ElementTree.fromstring(svg).findall("polyline")
    heights = [float(point.split(",")[1]) for point in line.get("points", "").split()]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)


@pytest.mark.parametrize("values", [(0.5,), (0.0, 0.0), (-1.0, 1.0)])
def test_flat_single_and_negative_curves_are_drawn(values: tuple[float, ...]) -> None:
    curve = Curve(tuple(range(len(values))), values)
    for logarithmic in (False, True):
        svg = charts.draw_chart("x", [charts.Line("x", curve)], logarithmic=logarithmic)
        assert "nan" not in svg
        assert "inf" not in svg


def test_several_curves_are_named_and_the_chosen_step_is_marked() -> None:
    lines = [charts.Line("a < b", Curve((0, 10), (1.0, 2.0))), charts.Line("c", Curve((0, 10), (1.0, 1.5)))]
    element = ElementTree.fromstring(charts.draw_chart("x", lines, chosen_step=5))
    assert [part.text for part in element.iter("tspan")] == ["▬ a < b", "▬ c", "▬ chosen"]
    assert any(line.get("stroke-dasharray") for line in element.iter("line"))
    assert not list(ElementTree.fromstring(charts.draw_chart("x", lines, has_legend=False)).iter("tspan"))
