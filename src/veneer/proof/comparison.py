"""Pairs of pictures seen through embedders: every measure, the facts beside them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from veneer.events import OnEvent, Progress, ignore
from veneer.models.embedder import Embedders
from veneer.proof.distances import kernel_distances, matching_p_value
from veneer.proof.measures import (
    Memorisation,
    diversity_measure,
    drift_measure,
    loss_measure,
    memorisation,
    prompt_measure,
    retrieval_measure,
    style_measure,
    true_fidelity,
)
from veneer.proof.pairs import Pair, View, count_broken, count_identical, view_pairs
from veneer.proof.signs import mean_smoothness, style_word_share
from veneer.proof.texture import texture_measure
from veneer.proof.verdict import Facts, Losses, Verdict, judge
from veneer.stats import Measure

STAGE = "compare"
MIN_CAPTIONS = 8
"""Fewest training pictures whose captions are tested for a fit."""
NO_PICTURES = "the run holds no pictures out"


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
    """

    verdict: Verdict
    measures: Mapping[str, Measure | None]
    unavailable: Mapping[str, str]
    pairs: tuple[Pair, ...]
    copies: Memorisation | None
    training: tuple[Path, ...]
    embedders: tuple[str, ...]
    facts: Facts

    @property
    def summary(self) -> str:
        """One line for people."""
        reasons = [reason.text for reason in self.verdict.reasons]
        return ": ".join([self.verdict.word, *reasons[:1]])

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            What metrics.json holds, but for what only a run knows.
        """
        return {
            "verdict": self.verdict.word,
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


@dataclass(frozen=True)
class References:
    """What pictures are held against.

    Attributes:
        held_out: Pictures of the style that training never saw.
        training: Pictures that training saw.
        captions: Caption of each training picture.
        losses: Held-out loss over the run.
        picture_losses: Held-out loss of base and of chosen checkpoint on each held-out picture.
        native_px: Side that the base was trained on.
        side_px: Side of the pictures.
        has_two_passes: Whether pictures were composed at the base's own size first.
    """

    held_out: tuple[Path, ...] = ()
    training: tuple[Path, ...] = ()
    captions: tuple[str, ...] = ()
    losses: Losses | None = None
    picture_losses: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    native_px: int | None = None
    side_px: int | None = None
    has_two_passes: bool = False


@dataclass
class _Findings:
    measures: dict[str, Measure | None] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, measure: Measure | None, why_not: str) -> None:
        self.measures[name] = measure
        if measure is None:
            self.unavailable[name] = why_not


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
        prompt_margin: Fall of the prompt measure that still counts as none.
        on_event: Listener.

    Returns:
        Measures and verdict.
    """
    views = {}
    for embedder in (embedders.clip, embedders.dino):
        if embedder is not None:
            views[embedder.name] = view_pairs(embedder, pairs, references.held_out, references.training)
            on_event(Progress(STAGE, len(views), embedder.name))
    view, copies_view = views[embedders.pictures.name], views[embedders.copies.name]
    found, styled = _Findings(), _rows(pairs, "recipe", "held_out")
    _measure_style(found, view, copies_view if embedders.dino and embedders.clip else None, pairs, styled)
    _measure_prompt(found, view, pairs, styled)
    _measure_texture(found, pairs, styled, held_out=references.held_out)
    copies = _measure_copies(found, copies_view, pairs, styled)
    _measure_forgetting(found, view, pairs, _rows(pairs, "general"))
    _measure_loss(found, references)
    chance, true_prompt = _caption_fit(view, embedders, references)
    facts = replace(
        _facts(pairs, references, copies, styled), caption_p_value=chance, true_prompt=true_prompt
    )
    verdict = judge(found.measures, facts, prompt_margin=prompt_margin)
    return Comparison(
        verdict,
        found.measures,
        found.unavailable,
        tuple(pairs),
        copies,
        references.training,
        embedders.names,
        facts,
    )


def _measure_style(
    found: _Findings, view: View, second: View | None, pairs: Sequence[Pair], rows: Sequence[int]
) -> None:
    prompts = [pairs[row].prompt for row in rows]
    why_not = NO_PICTURES if rows else "no prompt calls the style"
    has_style = bool(rows) and len(view.held_out) > 0
    style = style_measure(view.base[rows], view.tuned[rows], view.held_out, prompts) if has_style else None
    found.add("style", style, why_not)
    if second is not None:
        other = (
            style_measure(second.base[rows], second.tuned[rows], second.held_out, prompts)
            if has_style
            else None
        )
        found.add("style_dino", other, why_not)
    enough = len(rows) > 1 and len(view.held_out) > 1
    kernel = kernel_distances(view.base[rows], view.tuned[rows], view.held_out, prompts) if enough else None
    found.add("style_kid", kernel, "a distance of sets needs two pictures in each")
    diversity = diversity_measure(view.base[rows], view.tuned[rows], prompts) if rows else None
    found.add("diversity", diversity, "no prompt was drawn with two seeds")


def _measure_texture(
    found: _Findings, pairs: Sequence[Pair], rows: Sequence[int], *, held_out: Sequence[Path]
) -> None:
    texture = None
    if rows and held_out:
        shown = [pairs[row] for row in rows]
        sides = ([pair.base for pair in shown], [pair.tuned for pair in shown])
        texture = texture_measure(*sides, held_out, [pair.prompt for pair in shown])
    found.add("style_texture", texture, NO_PICTURES)


def _measure_prompt(found: _Findings, view: View, pairs: Sequence[Pair], rows: Sequence[int]) -> None:
    if view.texts is None or not rows:
        why_not = "no prompt calls the style" if view.texts is not None else "the embedder reads no text"
        found.add("prompt", None, why_not)
        found.add("retrieval", None, why_not)
        return
    prompts = [pairs[row].prompt for row in rows]
    found.add("prompt", prompt_measure(view.base[rows], view.tuned[rows], view.texts[rows], prompts), "")
    all_prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    first = [next(row for row, pair in enumerate(pairs) if pair.prompt == text) for text in all_prompts]
    own = [all_prompts.index(text) for text in prompts]
    among = view.texts[first]
    enough = len(all_prompts) > 1
    measure = retrieval_measure(view.base[rows], view.tuned[rows], among, own, prompts) if enough else None
    found.add("retrieval", measure, "there is no second prompt to tell it from")


def _measure_copies(
    found: _Findings, view: View, pairs: Sequence[Pair], rows: Sequence[int]
) -> Memorisation | None:
    prompts = [pairs[row].prompt for row in rows]
    copies = memorisation(view.base[rows], view.tuned[rows], view.training, prompts) if rows else None
    found.add("memorisation", copies.measure if copies else None, "fewer than 4 training pictures are known")
    return copies


def _measure_forgetting(found: _Findings, view: View, pairs: Sequence[Pair], rows: Sequence[int]) -> None:
    prompts = [pairs[row].prompt for row in rows]
    drift = drift_measure(view.base[rows], view.tuned[rows], prompts) if rows else None
    found.add("forgetting", drift, "compare.general_prompts is empty")
    if rows and view.texts is not None:
        general = prompt_measure(view.base[rows], view.tuned[rows], view.texts[rows], prompts)
        found.add("general_prompt", general, "")


def _measure_loss(found: _Findings, references: References) -> None:
    losses, by_picture = references.losses, references.picture_losses
    if by_picture is None and losses is not None:
        by_picture = ((losses.base,), (losses.chosen,))
    measure = loss_measure(*by_picture) if by_picture else None
    found.add("validation_loss", measure, NO_PICTURES)


def _facts(
    pairs: Sequence[Pair],
    references: References,
    copies: Memorisation | None,
    rows: Sequence[int],
) -> Facts:
    prompts = [pairs[row].prompt for row in rows]
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


def _caption_fit(
    view: View, embedders: Embedders, references: References
) -> tuple[float | None, float | None]:
    """How the training pictures fit their captions: the p-value of chance, and the known ones' prompt."""
    captions, clip = references.captions, embedders.clip
    if clip is None or len(captions) < MIN_CAPTIONS or len(captions) != len(view.training):
        return None, None
    texts = clip.text_features(captions)
    if texts is None:
        return None, None
    return matching_p_value(view.training, texts), true_fidelity(view.training, texts)


def _recipe_seeds(pairs: Sequence[Pair]) -> list[int]:
    own = [pair for pair in pairs if pair.kind == "recipe"] or pairs
    return sorted({pair.seed for pair in own if pair.seed is not None})


def _rows(pairs: Sequence[Pair], *kinds: str) -> list[int]:
    return [row for row, pair in enumerate(pairs) if pair.kind in kinds]
