"""Curves as SVG text: no script, no font, in colours of the page, so that they follow light and dark.

The report and the studio show the same charts. A page sets the variables ``--first``, ``--second``,
``--third`` for the curves, ``--ink`` for letters and ``--line`` for the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from veneer.proof.history import Curve

COLOURS = ("--first", "--second", "--third")
MAX_POINTS = 240
WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 14, 24


@dataclass(frozen=True)
class Line:
    """A curve of a chart.

    Attributes:
        label: Its name in the legend.
        curve: Its points.
        has_dots: Whether each point is marked, as for the few held-out losses.
    """

    label: str
    curve: Curve
    has_dots: bool = False


@dataclass(frozen=True)
class _Scale:
    """Where values lie on one axis: ``begin`` and ``end`` are places of ``low`` and ``high``."""

    low: float
    high: float
    begin: float
    end: float
    is_logarithmic: bool = False

    def place(self, value: float) -> float:
        low, high, at = (self._growth(one) for one in (self.low, self.high, value))
        return self.begin + (at - low) / ((high - low) or 1) * (self.end - self.begin)

    def value(self, share: float) -> float:
        """The value at a share of the way."""
        low, high = self._growth(self.low), self._growth(self.high)
        at = low + share * (high - low)
        return math.exp(at) if self.is_logarithmic else at

    def _growth(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.is_logarithmic else value


def draw_chart(
    title: str,
    lines: Sequence[Line],
    *,
    chosen_step: int | None = None,
    logarithmic: bool = False,
    has_legend: bool = True,
) -> str:
    """Draw curves over the optimizer steps.

    Args:
        title: What the chart shows; read aloud in place of the picture.
        lines: Up to three curves; empty ones are left out.
        chosen_step: Step that gets an upright line; None for none.
        logarithmic: Whether values grow by factors.
        has_legend: Whether several curves are named within the picture.

    Returns:
        An ``<svg>`` element; an empty text where there is nothing to draw.
    """
    shown = [(line, colour) for line, colour in zip(lines, COLOURS, strict=False) if line.curve.steps]
    if not shown:
        return ""
    thinned = [thin_out(line.curve) for line, _ in shown]
    across = _across([step for steps, _ in thinned for step in steps], chosen_step)
    up = _upwards([value for _, values in thinned for value in values], logarithmic)
    parts = [_axes(across, up)]
    for (line, colour), (steps, values) in zip(shown, thinned, strict=True):
        places = [(across.place(x), up.place(y)) for x, y in zip(steps, values, strict=True)]
        parts.append(_line(places, colour, has_dots=line.has_dots))
    names = [(line.label, colour) for line, colour in shown]
    if chosen_step is not None:
        parts.append(_upright(across.place(chosen_step)))
        names.append(("chosen", "--ink"))
    if has_legend and len(names) > 1:
        parts.append(_legend(names))
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label={quoteattr(title)} font-size="11">'
    return f"{head}{''.join(parts)}</svg>"


def thin_out(curve: Curve) -> tuple[list[float], list[float]]:
    """Mean over stretches of steps, so that a long run stays a small picture.

    Args:
        curve: Any number of points.

    Returns:
        Steps and values, at most `MAX_POINTS` of each.
    """
    parts = min(MAX_POINTS, len(curve.steps))
    steps, values = (np.array_split(np.asarray(one, float), parts) for one in (curve.steps, curve.values))
    return [float(part.mean()) for part in steps], [float(part.mean()) for part in values]


def _across(steps: Sequence[float], chosen_step: int | None) -> _Scale:
    known = [*steps, *([] if chosen_step is None else [float(chosen_step)])]
    return _Scale(min(known), max(known), LEFT, WIDTH - RIGHT)


def _upwards(values: Sequence[float], logarithmic: bool) -> _Scale:
    low, high = min(values), max(values)
    is_logarithmic = logarithmic and low > 0
    if is_logarithmic:
        low, high = low / 1.1, high * 1.1
    else:
        margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        low, high = max(0.0, low - margin) if low >= 0 else low - margin, high + margin
    return _Scale(low, high, HEIGHT - BOTTOM, TOP, is_logarithmic)


def _line(places: Sequence[tuple[float, float]], colour: str, *, has_dots: bool) -> str:
    dots = ""
    if has_dots or len(places) == 1:
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="var({colour})"/>' for x, y in places)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    look = f'fill="none" stroke="var({colour})" stroke-width="1.8" stroke-linejoin="round"'
    return f'<polyline points="{path}" {look}/>{dots}'


def _upright(x: float) -> str:
    place = f'x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
    return f'<line {place} stroke="var(--ink)" stroke-dasharray="3 3"/>'


def _axes(across: _Scale, up: _Scale) -> str:
    parts = []
    for share in (0.0, 0.5, 1.0):
        value = up.value(share)
        y = up.place(value)
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line {ends} stroke="var(--line)"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{value:.2g}", "end"))
    parts.append(_text(LEFT, HEIGHT - 6, f"step {across.low:g}", "start"))
    if across.high > across.low:
        parts.append(_text(WIDTH - RIGHT, HEIGHT - 6, f"step {across.high:g}", "end"))
    return "".join(parts)


def _legend(names: Sequence[tuple[str, str]]) -> str:
    keys = "  ".join(f'<tspan fill="var({colour})">▬ {escape(name)}</tspan>' for name, colour in names)
    return f'<text x="{WIDTH - RIGHT}" y="{TOP - 4}" text-anchor="end" xml:space="preserve">{keys}</text>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--ink)">{text}</text>'
