"""Pairs of pictures seen through embedders: every measure, the facts beside them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from veneer.events import OnEvent, ignore
from veneer.models.embedder import Embedders
from veneer.proof.copies import Memorisation, count_leaks
from veneer.proof.distances import matching_p_value
from veneer.proof.evidence import Evidence, References, look
from veneer.proof.facts import Facts
from veneer.proof.likeness import prompt_span, style_cost
from veneer.proof.margins import MIN_COST_CAPTIONS
from veneer.proof.measures import MEASURES, find_copies
from veneer.proof.pairs import Pair, View, count_broken, count_identical
from veneer.proof.targets import Target, find_targets
from veneer.proof.training_set import mean_smoothness, style_word_share
from veneer.proof.verdict import Verdict, judge
from veneer.records.html import pictures_html, rows_html
from veneer.stats import Measure

MIN_CAPTIONS = 8
"""Fewest different captions that are tested for a fit: of fewer, most deals are the same deal."""


SHOWN_PAIRS = 4
"""Pairs that a notebook shows."""


@dataclass(frozen=True)
class Comparison:
    """What comparing two sets of pictures gave.

    Attributes:
        verdict: The verdict and its reasons.
        measures: Measures by name; None where one cannot be had.
        unavailable: Why, by the name of the measure.
        pairs: The pairs that were compared.
        copies: What was found about copies of training pictures; None where that cannot be had.
        training: The training pictures that `copies` counts.
        embedders: Names of the models that the pictures were seen through.
        facts: What else the rules read.
        targets: The true picture of every held-out caption beside what was drawn.
        held_out: The held-out pictures that `targets` counts.
    """

    verdict: Verdict
    measures: Mapping[str, Measure | None]
    unavailable: Mapping[str, str]
    pairs: tuple[Pair, ...]
    copies: Memorisation | None
    training: tuple[Path, ...]
    embedders: tuple[str, ...]
    facts: Facts
    targets: tuple[Target, ...] = ()
    held_out: tuple[Path, ...] = ()

    @property
    def summary(self) -> str:
        """One line for people."""
        reasons = [reason.text for reason in self.verdict.reasons]
        return ": ".join([self.verdict.word, self.verdict.headline, *reasons[:1]])

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, every measure of base and tuned, and the first pairs."""
        measured = {
            name: f"{one.base:.3f} -> {one.tuned:.3f}"
            for name, one in self.measures.items()
            if one is not None
        }
        reasons = "; ".join(reason.text for reason in self.verdict.reasons)
        rows = {"headline": self.verdict.headline, "reasons": reasons, "next": self.verdict.todo, **measured}
        first = self.pairs[:SHOWN_PAIRS]
        shown = [(path, name) for one in first for path, name in ((one.base, "base"), (one.tuned, "tuned"))]
        return rows_html(f"verdict: {self.verdict.word}", rows) + pictures_html(shown)

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            What metrics.json holds, but for what only a run knows.
        """
        return {
            "verdict": self.verdict.word,
            "headline": self.verdict.headline,
            "todo": self.verdict.todo,
            "reasons": [reason.text for reason in self.verdict.reasons],
            "chosen_step": self.facts.losses.chosen_step if self.facts.losses else None,
            "measures": {name: None if one is None else one.plain() for name, one in self.measures.items()},
            "prompts": list(dict.fromkeys(pair.prompt for pair in self.pairs)),
            "seeds": _recipe_seeds(self.pairs),
            "unavailable": dict(self.unavailable),
            "reasons_named": [reason.plain() for reason in self.verdict.reasons],
            "embedders": list(self.embedders),
            "facts": asdict(self.facts),
        }


def compare_pairs(
    pairs: Sequence[Pair],
    references: References,
    embedders: Embedders,
    *,
    prompt_margin: float = 0.02,
    on_event: OnEvent = ignore,
) -> Comparison:
    """Measure pairs of pictures and judge them.

    Args:
        pairs: The pairs, at least one.
        references: What they are held against.
        embedders: The models that they are seen through.

    Returns:
        Measures and verdict.
    """
    seen = look(pairs, references, embedders, on_event)
    measures, unavailable = take_measures(seen)
    copies = find_copies(seen.of_kinds("recipe", "held_out"))
    cost, span = _style_cost(seen, references)
    facts = replace(
        _facts(pairs, references, copies),
        style_cost=cost,
        prompt_span=span,
        caption_p_value=_caption_chance(seen.pictures, embedders, references),
        num_leaked=count_leaks(seen.layouts) if seen.layouts else 0,
    )
    return Comparison(
        judge(measures, facts, prompt_margin=prompt_margin),
        measures,
        unavailable,
        tuple(pairs),
        copies,
        references.training,
        embedders.names,
        facts,
        find_targets(seen, references.held_out_captions),
        references.held_out,
    )


def take_measures(seen: Evidence) -> tuple[dict[str, Measure | None], dict[str, str]]:
    """Every measure of the table, and why those that are None cannot be had."""
    styled, general = seen.of_kinds("recipe", "held_out"), seen.of_kinds("general")
    by_kind = {"styled": styled, "general": general, "none": seen}
    measures: dict[str, Measure | None] = {}
    unavailable: dict[str, str] = {}
    for spec in MEASURES:
        found = spec.of(by_kind[spec.prompts])
        if not isinstance(found, str):
            measures[spec.name] = found
        elif not spec.is_optional:
            measures[spec.name], unavailable[spec.name] = None, found
    return measures, unavailable


def _facts(
    pairs: Sequence[Pair],
    references: References,
    copies: Memorisation | None,
) -> Facts:
    prompts = [pair.prompt for pair in pairs if pair.kind != "general"]
    own = [pair.prompt for pair in pairs if pair.kind == "recipe"]
    return Facts(
        num_prompts=len(set(prompts)),
        num_held_out=len(references.held_out),
        num_pictures=len(pairs),
        num_identical=count_identical(pairs),
        num_broken=count_broken(pairs),
        num_copies=copies.num_copies if copies else 0,
        losses=references.losses,
        smoothness=mean_smoothness(references.training),
        style_word_share=style_word_share(own, references.captions),
        side_px=references.side_px,
        native_px=references.native_px,
        has_two_passes=references.has_two_passes,
    )


def _caption_chance(view: View, embedders: Embedders, references: References) -> float | None:
    """How probable the fit of the training captions is by chance; few captions cannot be dealt anew."""
    captions, clip = references.captions, embedders.clip
    if clip is None or len(captions) < MIN_CAPTIONS or len(captions) != len(view.training):
        return None
    if len(set(captions)) < MIN_CAPTIONS:
        return None
    texts = clip.text_features(captions)
    return None if texts is None else matching_p_value(view.training, texts)


def _style_cost(seen: Evidence, references: References) -> tuple[float | None, float | None]:
    """By how much true held-out pictures surely lie below the base's of the same captions; and the span."""
    view, captions = seen.pictures, references.held_out_captions
    if view.texts is None or len(captions) != len(view.held_out):
        return None, None
    rows = [(row, captions.index(text)) for row, text in enumerate(seen.prompts) if text in captions]
    if len({seen.prompts[row] for row, _ in rows}) < MIN_COST_CAPTIONS:
        return None, None
    shown, true = (list(one) for one in zip(*rows, strict=True))
    base, texts, prompts = view.base[shown], view.texts[shown], [seen.prompts[row] for row in shown]
    cost = style_cost(base, view.held_out[true], texts, prompts)
    return (None, None) if cost.ci95 is None else (-cost.ci95[1], prompt_span(base, texts, prompts))


def _recipe_seeds(pairs: Sequence[Pair]) -> list[int]:
    own = [pair for pair in pairs if pair.kind == "recipe"] or pairs
    return sorted({pair.seed for pair in own if pair.seed is not None})
