"""Measures in plain words, for the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from veneer.proof.measures import MEASURES, Spec
from veneer.stats import Measure, measure_from

Trend = Literal["gain", "loss", "same", "moved", "unknown"]


@dataclass(frozen=True)
class Bar:
    """An interval as a bar: 0 is far worse, 50 the same, 100 far better.

    Attributes:
        low: Where the interval begins.
        high: Where it ends.
        middle: Where the difference is.
    """

    low: float
    high: float
    middle: float


@dataclass(frozen=True)
class Row:
    """A line of the report's table.

    Attributes:
        name: Name of the measure in metrics.json.
        label: Its name for people.
        question: What it answers.
        base: Value of the base; empty where unknown.
        tuned: Value of the tuned model.
        delta: Difference, with its sign.
        interval: 95 % interval in words; empty where there is none, and the sentence says why.
        wins: Share of wins, and how many units they are of, in words.
        sentence: The finding in one sentence.
        trend: Whether the tuned model is better, worse or the same by the 95 % interval.
        bar: The interval as a bar; None where there is none.
    """

    name: str
    label: str
    question: str
    base: str
    tuned: str
    delta: str
    interval: str
    wins: str
    sentence: str
    trend: Trend
    bar: Bar | None = None


def describe_measures(metrics: Mapping[str, Any]) -> list[Row]:
    """Put every measure of a comparison into words.

    Args:
        metrics: Content of metrics.json.

    Returns:
        One row for each, in a fixed order; measures that cannot be had say why.
    """
    rows = []
    for spec in MEASURES:
        name = spec.name
        if name not in metrics["measures"]:
            continue
        plain = metrics["measures"][name]
        if plain is None:
            rows.append(_absent(spec, metrics["unavailable"].get(name, "not available")))
        else:
            rows.append(_present(spec, measure_from(plain)))
    return rows


def _absent(spec: Spec, reason: str) -> Row:
    text = f"Not available: {reason}."
    return Row(spec.name, spec.label, spec.question, "", "", "", "", "", text, "unknown")


def _present(spec: Spec, measure: Measure) -> Row:
    digits, trend = spec.digits, trend_of(measure)
    if spec.is_distance and trend in {"gain", "loss"}:
        trend = "moved"
    interval = ""
    if measure.ci95 is not None:
        low, high = measure.ci95
        interval = f"{low:+.{digits}f} to {high:+.{digits}f}"
    units = f"{measure.n} {measure.unit}"
    has_wins = measure.wins is not None and not spec.is_distance
    wins = f"{(measure.wins or 0) * 100:.0f} % of {units}" if has_wins else f"not counted; {units}"
    return Row(
        spec.name,
        spec.label,
        spec.question,
        f"{measure.base:.{digits}f}",
        f"{measure.tuned:.{digits}f}",
        f"{measure.delta:+.{digits}f}",
        interval,
        wins,
        _sentence(spec, measure, trend),
        trend,
        _bar(measure),
    )


def _bar(measure: Measure) -> Bar | None:
    """The interval, turned so that better is on the right, as wide as it needs."""
    if measure.ci95 is None:
        return None
    sign = 1 if measure.better == "higher" else -1
    low, high = sorted(sign * end for end in measure.ci95)
    reach = max(abs(low), abs(high)) * 1.1 or 1.0  # nothing differs anywhere: the middle
    return Bar(*(round(50 + 50 * value / reach, 1) for value in (low, high, measure.gain)))


def trend_of(measure: Measure) -> Trend:
    """Whether a measure moved, by its 95 % interval.

    Returns:
        "gain", "loss", "same" where the interval holds zero, "unknown" where there is none.
    """
    if measure.ci95 is None:
        return "unknown"
    low, high = measure.ci95
    if low <= 0 <= high:
        return "same"
    return "gain" if measure.gain > 0 else "loss"


def _sentence(spec: Spec, measure: Measure, trend: Trend) -> str:
    change = spec.more if measure.delta > 0 else spec.less
    about = f"from {measure.base:.{spec.digits}f} to {measure.tuned:.{spec.digits}f}"
    match trend:
        case "unknown" if measure.delta == 0:
            return f"No change ({measure.note})."
        case "unknown":
            return f"Perhaps {change}: {about} ({measure.note})."
        case "same":
            return f"No difference beyond chance: {about}{_aside(measure)}."
        case "moved":
            return f"{change[0].upper()}{change[1:]} by {measure.delta:.{spec.digits}f}{_aside(measure)}."
        case "gain" | "loss":
            often = (
                "" if measure.wins is None else f", better in {measure.wins * 100:.0f} % of {measure.unit}"
            )
            return f"{change[0].upper()}{change[1:]}: {about}{often}{_aside(measure)}."


def _aside(measure: Measure) -> str:
    return f" ({measure.note})" if measure.note else ""
