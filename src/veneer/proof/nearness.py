"""What several views of style say together: they must not contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from veneer.stats import Measure

VIEWS: Mapping[str, str] = {"style": "", "style_dino": "DINO ", "style_texture": "texture "}
"""Measures of nearness to the style, and how a reason calls each."""

SMALLEST = 0.005
"""Difference in a view below which it counts as none, however sure: an adapter that hardly acts is surely,
and for nobody to see, a little different."""


def style_rises(measures: Mapping[str, Measure | None]) -> bool:
    """Whether the pictures come nearer to the style.

    Args:
        measures: The measures by name.

    Returns:
        True where a view rises and none falls, by their 99 % intervals and by `SMALLEST` at least.
    """
    views = _views(measures)
    return any(map(_rises, views)) and not any(map(_falls, views))


def style_falls(measures: Mapping[str, Measure | None]) -> bool:
    """Whether the pictures go further from the style.

    Args:
        measures: The measures by name.

    Returns:
        True where a view falls and none rises, by their 99 % intervals and by `SMALLEST` at least.
    """
    views = _views(measures)
    return any(map(_falls, views)) and not any(map(_rises, views))


def style_words(measures: Mapping[str, Measure | None]) -> str:
    """Put the views of style into words.

    Args:
        measures: The measures by name.

    Returns:
        Each difference with its interval.
    """
    known = {name: measures.get(name) for name in VIEWS}
    return "; ".join(f"{VIEWS[name]}{signed(view)}" for name, view in known.items() if view is not None)


def signed(measure: Measure, level: Literal[95, 99] = 99) -> str:
    """Put a difference into words.

    Args:
        measure: The measure.
        level: Which interval, in per cent.

    Returns:
        The difference with its sign and interval, or why there is none.
    """
    interval = measure.ci99 if level == 99 else measure.ci95
    if interval is None:
        return f"{measure.delta:+.3f}, {measure.note}"
    return f"{measure.delta:+.3f}, {level} % interval {interval[0]:+.3f} to {interval[1]:+.3f}"


def _rises(view: Measure) -> bool:
    return view.rises and view.gain >= SMALLEST


def _falls(view: Measure) -> bool:
    return view.falls and view.gain <= -SMALLEST


def _views(measures: Mapping[str, Measure | None]) -> list[Measure]:
    return [view for view in (measures.get(name) for name in VIEWS) if view is not None]
