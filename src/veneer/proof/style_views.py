"""The views of style together: whether they say nearer, further or neither, and in which words."""

from __future__ import annotations

from collections.abc import Mapping

from veneer.proof.measures import VIEWS
from veneer.proof.reasons import signed
from veneer.stats import Measure

SMALLEST = 0.005
"""Difference in a view below which it counts as none, however sure: an adapter that hardly acts is surely,
and for nobody to see, a little different."""


def style_rises(measures: Mapping[str, Measure | None]) -> bool:
    """Whether the pictures come nearer to the style.

    Returns:
        True where a view rises and none falls, by their 99 % intervals and by `SMALLEST` at least.
    """
    views = _views(measures)
    return any(map(_rises, views)) and not any(map(_falls, views))


def style_falls(measures: Mapping[str, Measure | None]) -> bool:
    """Whether the pictures go further from the style.

    Returns:
        True where a view falls and none rises, by their 99 % intervals and by `SMALLEST` at least.
    """
    views = _views(measures)
    return any(map(_falls, views)) and not any(map(_rises, views))


def style_words(measures: Mapping[str, Measure | None]) -> str:
    """Put the views of style into words.

    Returns:
        Each difference with its interval.
    """
    known = {name: measures.get(name) for name in VIEWS}
    return "; ".join(f"{VIEWS[name]}{signed(view)}" for name, view in known.items() if view is not None)


def _rises(view: Measure) -> bool:
    return view.rises and view.gain >= SMALLEST


def _falls(view: Measure) -> bool:
    return view.falls and view.gain <= -SMALLEST


def _views(measures: Mapping[str, Measure | None]) -> list[Measure]:
    return [view for view in (measures.get(name) for name in VIEWS) if view is not None]
