"""How large an effect was, and how often the newest power table shows one as large."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.machine import RESULTS
from veneer.stats import Measure

Shares = Mapping[str, float]


def way(styles: Sequence[Measure]) -> float:
    """Share of the way from the base to the held-out pictures, of many comparisons together.

    The mean of their own shares would be drawn up by those where the way is short by chance.
    """
    length = sum(one.ideal - one.base for one in styles if one.ideal is not None)
    return sum(one.delta for one in styles if one.ideal is not None) / length if length > 0 else 0.0


def fall(found: Sequence[Measure]) -> float:
    """Share of subjects lost, of many comparisons together; below 0 where more are found."""
    return -float(np.mean([one.delta for one in found])) if found else 0.0


def newest_power() -> Mapping[str, Any]:
    """The effects of the newest `bench/results/null_*.json`: by prompts, then by pull and subjects lost."""
    table = max(RESULTS.glob("null_*.json"), key=lambda path: path.stem[-10:])
    return dict(json.loads(table.read_text("utf-8"))["effects"])


def promised(by_effect: Mapping[str, Shares], way: float, fall: float) -> dict[str, float]:
    """How often as large an effect is shown to be nearer, and called `better`.

    Args:
        by_effect: Rows of the table for as many prompts, with "way", "fall" and the pictures' pull in the key
            before ", ", so that rows of one pull differ in the subjects lost alone.
        way: Share of the way that was gone.
        fall: Share of subjects lost; outside the table the nearest row counts.

    Returns:
        Shares, in [0, 1]; between rows they are read off straight lines.
    """
    by_lost: dict[str, list[Shares]] = {}
    for name, one in by_effect.items():
        by_lost.setdefault(name.partition(", ")[2], []).append(one)
    lines = sorted((along(rows, way) for rows in by_lost.values()), key=lambda line: line["fall"])
    falls = [line["fall"] for line in lines]
    return {
        word: float(np.interp(fall, falls, [line[word] for line in lines])) for word in ("better", "nearer")
    }


def along(rows: Sequence[Shares], way: float) -> dict[str, float]:
    """What rows of different pulls say at a way: "fall", "better", "nearer"; outside them the nearest row."""
    points = sorted(rows, key=lambda one: one["way"])
    ways = [one["way"] for one in points]
    return {
        name: float(np.interp(way, ways, [one.get(name, 0.0) for one in points]))
        for name in ("fall", "better", "nearer")
    }
