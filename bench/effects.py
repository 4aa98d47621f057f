"""How large an effect was, and how often the newest power table shows one as large."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.machine import RESULTS
from veneer.proof.measures import VIEWS
from veneer.stats import Measure

Shares = Mapping[str, float]


def effect(found: Sequence[Mapping[str, Measure | None]]) -> dict[str, float]:
    """How large an effect was in many comparisons together.

    Args:
        found: The measures of each, by name.

    Returns:
        "way", "signal" and "fall", as the functions of these names have them.
    """
    by_view = [[one for each in found if (one := each.get(view))] for view in VIEWS]
    known = [one for each in found if (one := each.get("retrieval"))]
    style = [one for each in found if (one := each.get("style"))]
    return {"way": way(style), "signal": signal(by_view), "fall": fall(known)}


def way(styles: Sequence[Measure]) -> float:
    """Share of the way from the base to the held-out pictures, of many comparisons together.

    The mean of their own shares would be drawn up by those where the way is short by chance.
    """
    length = sum(one.ideal - one.base for one in styles if one.ideal is not None)
    return sum(one.delta for one in styles if one.ideal is not None) / length if length > 0 else 0.0


def signal(by_view: Sequence[Sequence[Measure]]) -> float:
    """The gain in units of the gain that would just be sure, in the view that sees most; 1 is the edge.

    This is what power depends on, whatever the style: a share of the way is short or long by the view's own
    distance from base to style, and says nothing of how much prompts differ.

    Args:
        by_view: Of each view its measures in many comparisons; those without an interval are left out.
    """
    return max(map(_signal, by_view), default=0.0)


def _signal(found: Sequence[Measure]) -> float:
    sure = [(one.gain, one.gain_of(one.certain)[0], one.least) for one in found if one.certain is not None]
    reach = sum(gain - low for gain, low, _ in sure)
    return sum(gain - least for gain, _, least in sure) / reach if reach > 0 else 0.0


def fall(found: Sequence[Measure]) -> float:
    """Share of subjects lost, of many comparisons together; below 0 where more are found."""
    return -float(np.mean([one.delta for one in found])) if found else 0.0


def newest_power() -> Mapping[str, Any]:
    """The effects of the newest `bench/results/null_*.json`: by prompts, then by pull and subjects lost."""
    table = max(RESULTS.glob("null_*.json"), key=lambda path: path.stem[-10:])
    return dict(json.loads(table.read_text("utf-8"))["effects"])


def promised(by_effect: Mapping[str, Shares], signal: float, fall: float) -> dict[str, float | None]:
    """How often as large an effect is shown to be nearer, and called `better`.

    Args:
        by_effect: Rows of the table for as many prompts, with "signal" and "fall"; the part of a key from
            ", " on says how many subjects are lost, and rows that share it differ in the gain alone.
        signal: The gain, as in `signal`.
        fall: Share of subjects lost; outside the table the nearest row counts.

    Returns:
        Shares, in [0, 1]; between rows they are read off straight lines. None for a gain beyond the table's
        largest: there it says nothing, as its own largest gains cost the prompt.
    """
    by_lost: dict[str, list[Shares]] = {}
    for name, one in by_effect.items():
        by_lost.setdefault(name.partition(", ")[2], []).append(one)
    lines = sorted(
        (along(rows, "signal", signal) for rows in by_lost.values()), key=lambda line: line["fall"]
    )
    if signal > max(one["signal"] for one in by_effect.values()):
        return {"better": None, "nearer": None}
    falls = [line["fall"] for line in lines]
    return {
        word: float(np.interp(fall, falls, [line[word] for line in lines])) for word in ("better", "nearer")
    }


def along(rows: Sequence[Shares], axis: str, value: float) -> dict[str, float]:
    """What rows say of "fall", "better", "nearer" at a column's value; outside them the nearest row."""
    points = sorted(rows, key=lambda one: one[axis])
    values = [one[axis] for one in points]
    return {
        name: float(np.interp(value, values, [one.get(name, 0.0) for one in points]))
        for name in ("fall", "better", "nearer")
    }
