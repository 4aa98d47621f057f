"""Measures in plain words, for the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from veneer.stats import Measure, measure_from

Trend = Literal["gain", "loss", "same", "moved", "unknown"]


@dataclass(frozen=True)
class Meaning:
    """What a measure is, for people.

    Attributes:
        label: Its name.
        question: What it answers.
        more: Word for a larger value, such as "nearer".
        less: Word for a smaller value.
        digits: Decimal places shown.
        is_distance: Whether it is a distance from the base, which every tuned model has.
    """

    label: str
    question: str
    more: str
    less: str
    digits: int = 3
    is_distance: bool = False


MEANINGS: Mapping[str, Meaning] = {
    "style": Meaning(
        "Style",
        "How near do the pictures come to held-out pictures of the style? Cosine similarity, 1 is the same.",
        "nearer to the style",
        "further from the style",
    ),
    "style_dino": Meaning(
        "Style, second model",
        "How near do they come through DINO, which looks at form rather than meaning?",
        "nearer to the style",
        "further from the style",
    ),
    "style_texture": Meaning(
        "Style, texture",
        "How near do edges, flats and colour steps come to those of held-out pictures? Whatever is shown.",
        "nearer in texture",
        "further in texture",
    ),
    "style_kid": Meaning(
        "Style, as a set",
        "How far is the whole set from the held-out pictures? Kernel distance, 0 is the same.",
        "further as a set",
        "nearer as a set",
        4,
    ),
    "prompt": Meaning(
        "Prompt",
        "How well do the pictures show what the prompt says? Cosine similarity of picture and prompt.",
        "truer to the prompt",
        "less true to the prompt",
    ),
    "retrieval": Meaning(
        "Subject found",
        "For which share of the pictures is their own prompt the nearest of all prompts?",
        "found more often",
        "found less often",
    ),
    "diversity": Meaning(
        "Diversity",
        "How much do pictures of one prompt differ between seeds? Mean cosine distance.",
        "more varied",
        "less varied",
    ),
    "memorisation": Meaning(
        "Copies",
        "Which share of the pictures is nearer to a training picture than those are to each other?",
        "more copies",
        "fewer copies",
    ),
    "forgetting": Meaning(
        "Drift",
        "How far do prompts outside the style move away from the base's own pictures? 0 is not at all.",
        "moved away",
        "moved nearer",
        is_distance=True,
    ),
    "general_prompt": Meaning(
        "Prompt, outside the style",
        "How well are prompts followed that have nothing to do with the style?",
        "truer to the prompt",
        "less true to the prompt",
    ),
    "validation_loss": Meaning(
        "Held-out loss",
        "How well does the model predict the noise in held-out pictures? Lower is better.",
        "predicted worse",
        "predicted better",
        4,
    ),
}


@dataclass(frozen=True)
class Bar:
    """An interval as a bar: 0 is far worse, 50 no different, 100 far better.

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
    for name, meaning in MEANINGS.items():
        if name not in metrics["measures"]:
            continue
        plain = metrics["measures"][name]
        if plain is None:
            rows.append(_absent(name, meaning, metrics["unavailable"].get(name, "not available")))
        else:
            rows.append(_present(name, meaning, measure_from(plain)))
    return rows


def _absent(name: str, meaning: Meaning, reason: str) -> Row:
    text = f"Not available: {reason}."
    return Row(name, meaning.label, meaning.question, "", "", "", "", "", text, "unknown")


def _present(name: str, meaning: Meaning, measure: Measure) -> Row:
    digits, trend = meaning.digits, trend_of(measure)
    if meaning.is_distance and trend in {"gain", "loss"}:
        trend = "moved"
    interval = ""
    if measure.ci95 is not None:
        low, high = measure.ci95
        interval = f"{low:+.{digits}f} to {high:+.{digits}f}"
    units = f"{measure.n} {measure.unit}"
    has_wins = measure.wins is not None and not meaning.is_distance
    wins = f"{(measure.wins or 0) * 100:.0f} % of {units}" if has_wins else f"not counted; {units}"
    return Row(
        name,
        meaning.label,
        meaning.question,
        f"{measure.base:.{digits}f}",
        f"{measure.tuned:.{digits}f}",
        f"{measure.delta:+.{digits}f}",
        interval,
        wins,
        _sentence(meaning, measure, trend),
        trend,
        _bar(measure),
    )


def _bar(measure: Measure) -> Bar | None:
    """The interval, turned so that better is on the right, as wide as it needs."""
    if measure.ci95 is None:
        return None
    sign = 1 if measure.better == "higher" else -1
    low, high = sorted(sign * end for end in measure.ci95)
    reach = max(abs(low), abs(high)) * 1.1
    return Bar(*(round(50 + 50 * value / reach, 1) for value in (low, high, measure.gain)))


def trend_of(measure: Measure) -> Trend:
    """Whether a measure moved, by its 95 % interval.

    Args:
        measure: The measure.

    Returns:
        "gain", "loss", "same" where the interval holds zero, "unknown" where there is none.
    """
    if measure.ci95 is None:
        return "unknown"
    low, high = measure.ci95
    if low <= 0 <= high:
        return "same"
    return "gain" if measure.gain > 0 else "loss"


def _sentence(meaning: Meaning, measure: Measure, trend: Trend) -> str:
    change = meaning.more if measure.delta > 0 else meaning.less
    about = f"from {measure.base:.{meaning.digits}f} to {measure.tuned:.{meaning.digits}f}"
    match trend:
        case "unknown" if measure.delta == 0:
            return f"No change ({measure.note})."
        case "unknown":
            return f"Perhaps {change}: {about} ({measure.note})."
        case "same":
            return f"No difference beyond chance: {about}{_aside(measure)}."
        case "moved":
            return f"{change[0].upper()}{change[1:]} by {measure.delta:.{meaning.digits}f}{_aside(measure)}."
        case "gain" | "loss":
            often = (
                "" if measure.wins is None else f", better in {measure.wins * 100:.0f} % of {measure.unit}"
            )
            return f"{change[0].upper()}{change[1:]}: {about}{often}{_aside(measure)}."


def _aside(measure: Measure) -> str:
    return f" ({measure.note})" if measure.note else ""
