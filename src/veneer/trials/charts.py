"""Two pictures of a sweep as SVG text: intervals of all trials, and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from veneer.trials.ranking import Standing

_Shown = Callable[[float], float]
_WIDTH, _ROW, _LABELS = 640, 22, 60
_HIGH, _TOP, _BOTTOM = 260, 26, 22
MOST_ROWS = 40
"""Trials that the chart of intervals shows; the table has all."""


@dataclass(frozen=True)
class Coordinate:
    """One upright axis.

    Attributes:
        title: What it is.
        places: Place of each trial from 0, below, to 1, above; None where it has none.
        ends: Words at the lower and the upper end.
    """

    title: str
    places: tuple[float | None, ...]
    ends: tuple[str, str]


def draw_intervals(standings: Sequence[Standing]) -> str:
    """Draw the interval of every ranked trial, best above.

    Returns:
        An ``<svg>`` element; an empty text where no trial is ranked.
    """
    ranked = [one for one in standings if one.interval is not None and one.style is not None][:MOST_ROWS]
    if not ranked:
        return ""
    ends = [end for one in ranked for end in one.interval or ()]
    low, high = min(0.0, *ends), max(0.0, *ends)

    def across(value: float) -> float:
        return _LABELS + (value - low) / ((high - low) or 1) * (_WIDTH - _LABELS - 10)

    height = _ROW * len(ranked) + 24
    parts = [_line((across(0), 4), (across(0), height - 20), "--soft", "3 3")]
    for row, one in enumerate(ranked):
        y, (left, right) = _ROW * row + 14, one.interval or (0.0, 0.0)
        colour = "--second" if one.lost else "--first"
        parts.append(_text(0, y + 4, one.trial.name, "start"))
        parts.append(_line((across(left), y), (across(right), y), colour))
        middle = one.style.gain if one.style else 0.0
        parts.append(f'<circle cx="{across(middle):.1f}" cy="{y}" r="4" fill="var({colour})"/>')
    parts += [
        _text(across(x), height - 4, f"{x:+.3f}", "middle") for x in {low, 0.0, high} if _fits(x, low, high)
    ]
    return _svg("Gain in style of every trial, with its interval", _WIDTH, height, parts)


def _fits(x: float, low: float, high: float) -> bool:
    """Whether a mark leaves room for the one at zero."""
    return not x or abs(x) > 0.15 * (high - low)


def draw_parallel(standings: Sequence[Standing], keys: Sequence[str]) -> str:
    """Draw every trial as a line through what was varied and how it did; the best one is thick.

    Args:
        keys: What was varied.

    Returns:
        An ``<svg>`` element; an empty text where no trial is ranked.
    """
    ranked = [one for one in standings if one.is_ranked]
    if not ranked:
        return ""
    columns = [_varied(ranked, key) for key in keys]
    columns.append(_measured("held-out loss", [one.held_out_loss for one in ranked]))
    columns.append(_measured("prompt", [one.prompt.gain if one.prompt else None for one in ranked]))
    columns.append(_measured("style, lower end", [one.low for one in ranked]))
    shown = [column for column in columns if any(place is not None for place in column.places)]
    step = (_WIDTH - 120) / max(1, len(shown) - 1)
    xs = [60 + step * number for number in range(len(shown))]
    parts = [part for x, column in zip(xs, shown, strict=True) for part in _axis(x, column)]
    for row in reversed(range(len(ranked))):
        places = [
            (x, _y(column.places[row] or 0.0))
            for x, column in zip(xs, shown, strict=True)
            if column.places[row] is not None
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        title = f"<title>{escape(ranked[row].trial.name)}</title>"
        look = 'stroke="var(--first)" stroke-width="3"' if row == 0 else 'stroke="var(--soft)" opacity=".5"'
        parts.append(f'<polyline points="{points}" fill="none" {look}>{title}</polyline>')
    return _svg("Every trial through what was varied and how it did", _WIDTH, _HIGH, parts)


def _varied(ranked: Sequence[Standing], key: str) -> Coordinate:
    """Numbers by their size, by factors where they span ten; words in the order of their spelling."""
    told = [one.trial.settings.get(key, "") for one in ranked]
    try:
        numbers = [float(text) for text in told]
    except ValueError:
        known = sorted(set(told))
        places = tuple(known.index(text) / max(1, len(known) - 1) for text in told)
        return Coordinate(key, places, (known[0], known[-1]))
    if min(numbers) > 0 and max(numbers) >= 10 * min(numbers):
        return _measured(key, [math.log(number) for number in numbers], math.exp)
    return _measured(key, numbers)


def _measured(title: str, values: Sequence[float | None], shown_as: _Shown = float) -> Coordinate:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Coordinate(title, tuple(None for _ in values), ("", ""))
    low, high = min(known), max(known)
    places = tuple(
        None
        if value is None or not math.isfinite(value)
        else (value - low) / (high - low)
        if high > low
        else 0.5
        for value in values
    )
    return Coordinate(title, places, (f"{shown_as(low):.3g}", f"{shown_as(high):.3g}"))


def _axis(x: float, column: Coordinate) -> list[str]:
    return [
        _line((x, _TOP), (x, _HIGH - _BOTTOM), "--line"),
        _text(x, 12, column.title, "middle"),
        _text(x, _TOP - 2, column.ends[1], "middle"),
        _text(x, _HIGH - 8, column.ends[0], "middle"),
    ]


def _y(place: float) -> float:
    return _HIGH - _BOTTOM - place * (_HIGH - _BOTTOM - _TOP - 4)


def _line(begin: tuple[float, float], end: tuple[float, float], colour: str, dashes: str = "") -> str:
    broken = f' stroke-dasharray="{dashes}"' if dashes else ""
    ends = f'x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {ends} stroke="var({colour})" stroke-width="1.8"{broken}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--ink)">{escape(text)}</text>'


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(title)} font-size="11">'
    return f"{head}{''.join(parts)}</svg>"
