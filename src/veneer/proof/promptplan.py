"""How many prompts a sure answer takes: from what was measured, or before that from the measured power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from veneer.intervals import MIN_UNITS
from veneer.proof.facts import Facts
from veneer.proof.margins import COPY_MARGIN, RETRIEVAL_MARGIN, VARIETY_MARGIN, margin_of, variety
from veneer.proof.style_views import SMALLEST
from veneer.stats import Measure, measure_from, units_needed

POWER: Mapping[int, tuple[int, int, int]] = {
    5: (3, 10, 26),
    8: (5, 19, 42),
    14: (9, 35, 86),
    24: (16, 54, 89),
}
"""How often, in per cent, a third, two thirds and the whole of the way are shown to be nearer, by number of
prompts that share three seeds: `make bench-null`."""


def prompts_before(num_prompts: int) -> list[str]:
    """What a number of prompts can show, before anything is drawn.

    Returns:
        Sentences.
    """
    if num_prompts < MIN_UNITS:
        return [f"{num_prompts} prompts have no interval: {MIN_UNITS - num_prompts} more are needed at least"]
    known = max(number for number in POWER if number <= num_prompts)
    third, most, whole = POWER[known]
    found = (
        f"{num_prompts} prompts: with {known}, the whole way to the held-out pictures was shown to be nearer "
        f"in {whole} of 100 comparisons, two thirds of it in {most}, a third in {third}"
    )
    more = next((number for number in POWER if number > num_prompts), None)
    return [found] if more is None else [found, f"{more} prompts: {', '.join(_of(POWER[more]))}"]


def _of(power: tuple[int, int, int]) -> list[str]:
    names = ("a third in", "two thirds in", "the whole way in")
    return [f"{name} {share}" for name, share in zip(names, power, strict=True)]


def prompts_after(metrics: Mapping[str, Any], prompt_margin: float) -> list[str]:
    """How many prompts each question needs, were further ones like those that were compared.

    Args:
        metrics: Content of metrics.json.
        prompt_margin: The recipe's.

    Returns:
        A sentence for each question.
    """
    known = {name: measure_from(one) for name, one in metrics["measures"].items() if one}
    facts = metrics.get("facts", {})
    told = {name: facts.get(name) for name in ("style_cost", "prompt_span")}
    margin = margin_of(Facts(0, 0, 0, **told), prompt_margin).whole
    varied = variety(known.get("diversity"))
    known |= {"variety": varied} if varied else {}
    questions: list[tuple[str, str, float]] = [
        ("style", "nearer to the style", -SMALLEST),
        ("style_texture", "nearer in texture", -SMALLEST),
        ("prompt", f"as true to the prompt, within {margin:.3f}", margin),
        ("retrieval", "as many subjects found, within 10 points", RETRIEVAL_MARGIN),
        ("memorisation", "no copies, within 10 points", COPY_MARGIN),
        ("variety", "variety kept", VARIETY_MARGIN),
    ]
    return [f"{text}: {_needed(known[name], room)}" for name, text, room in questions if name in known]


def _needed(measure: Measure, margin: float) -> str:
    if measure.ci95 is None:
        return f"{MIN_UNITS} prompts at least"
    if measure.holds(margin):
        return f"shown with {measure.n} {measure.unit}"
    needed = units_needed(measure, margin)
    if needed is None:
        return f"no number of prompts would do: the difference itself is {measure.delta:+.3f}"
    least = max(needed, measure.n + 1)
    return f"about {least} {measure.unit} in all, if the difference stays {measure.delta:+.3f}"
