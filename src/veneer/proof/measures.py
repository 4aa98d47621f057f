"""The measures of a comparison as one table, `MEASURES`.

Whatever names a measure reads its row: the comparison, the verdict, the report's words, `metrics.json`'s
contract, the studio's columns and the table of docs/verdict.md. A new measure is one more row, and a function
of `Evidence`: of what networks saw, or of the pictures themselves, which are files of its `pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from veneer.proof.copies import MIN_TRAINING_PICTURES, Memorisation, memorisation
from veneer.proof.distances import kernel_distances
from veneer.proof.likeness import (
    diversity_measure,
    drift_measure,
    loss_measure,
    prompt_measure,
    retrieval_measure,
    style_measure,
)
from veneer.proof.pairs import View
from veneer.proof.texture import texture_measure
from veneer.stats import Better, Measure

if TYPE_CHECKING:
    from veneer.proof.evidence import Evidence


@dataclass(frozen=True)
class Spec:
    """One measure: a row of the table.

    Attributes:
        name: Its key in metrics.json.
        label: Its name for people.
        question: What it answers.
        unit: What its numbers are.
        prompts: Which prompts it looks at: those that call the style, those that do not, or none.
        of: The measure from the evidence of those prompts, or the reason why there is none.
        more: Word for a larger value, such as "nearer".
        less: Word for a smaller value.
        digits: Decimal places shown.
        is_contract: Whether metrics.json always has it, and the studio a column.
        is_optional: Whether it is left out, not called missing, where it cannot be had.
        is_distance: Whether more of it is neither better nor worse, as of a distance from the base.
        style_view: How a reason calls it among the views of style; None where it is none of them.
    """

    name: str
    label: str
    question: str
    unit: str
    better: Better
    prompts: Literal["styled", "general", "none"]
    of: Callable[[Evidence], Measure | str]
    more: str
    less: str
    digits: int = 3
    is_contract: bool = False
    is_optional: bool = False
    is_distance: bool = False
    style_view: str | None = None


NO_PICTURES = "the run holds no pictures out"


NO_PROMPT = "no prompt calls the style"


NO_TEXT = "the embedder reads no text"


NO_GENERAL = "compare.general_prompts is empty"


ONE_MODEL = "one embedder is named"


def _style(seen: Evidence) -> Measure | str:
    return _style_through(seen.pictures, seen)


def _style_second(seen: Evidence) -> Measure | str:
    return ONE_MODEL if seen.second is None else _style_through(seen.second, seen)


def _style_through(view: View, seen: Evidence) -> Measure | str:
    if not seen.prompts:
        return NO_PROMPT
    if not len(view.held_out):
        return NO_PICTURES
    return style_measure(view, seen.prompts, seen.seeds)


def _texture(seen: Evidence) -> Measure | str:
    if seen.texture is None or not seen.prompts:
        return NO_PICTURES
    return texture_measure(seen.texture, seen.prompts, seen.seeds)


def _kernel(seen: Evidence) -> Measure | str:
    view = seen.pictures
    if min(len(seen.prompts), len(view.held_out)) < 2:
        return "a distance of sets needs two pictures in each"
    return kernel_distances(view.base, view.tuned, view.held_out, seen.prompts)


def _prompt(seen: Evidence) -> Measure | str:
    view = seen.pictures
    if view.texts is None:
        return NO_TEXT
    if not seen.prompts:
        return NO_PROMPT
    return prompt_measure(view.base, view.tuned, view.texts, seen.prompts, seen.seeds)


def _retrieval(seen: Evidence) -> Measure | str:
    if seen.known_texts is None:
        return NO_TEXT
    if not seen.prompts:
        return NO_PROMPT
    if len(seen.known_texts) < 2:
        return "there is no second prompt to tell it from"
    view = seen.pictures
    return retrieval_measure(view.base, view.tuned, seen.known_texts, seen.own_text, seen.prompts)


def _diversity(seen: Evidence) -> Measure | str:
    measure = diversity_measure(seen.pictures.base, seen.pictures.tuned, seen.prompts)
    return "no prompt was drawn with two seeds" if measure is None else measure


def _memorisation(seen: Evidence) -> Measure | str:
    found = find_copies(seen)
    few = f"fewer than {MIN_TRAINING_PICTURES} training pictures are known"
    return few if found is None else found.measure


def find_copies(seen: Evidence) -> Memorisation | None:
    """Look for copies among the pictures of some prompts; None where that cannot be told."""
    if seen.layouts is None or not seen.prompts:
        return None
    return memorisation(seen.layouts, seen.prompts)


def _forgetting(seen: Evidence) -> Measure | str:
    if not seen.prompts:
        return NO_GENERAL
    return drift_measure(seen.pictures.base, seen.pictures.tuned, seen.prompts)


def _general_prompt(seen: Evidence) -> Measure | str:
    return _prompt(seen) if seen.prompts else NO_GENERAL


def _loss(seen: Evidence) -> Measure | str:
    return NO_PICTURES if seen.losses is None else loss_measure(*seen.losses)


MEASURES: tuple[Spec, ...] = (
    Spec(
        "style",
        "Style",
        "How near do the pictures come to held-out pictures of the style? Cosine similarity, 1 is the same.",
        "mean cosine similarity to the held-out pictures (CLIP-I; DINO where no CLIP is named)",
        "higher",
        "styled",
        _style,
        "nearer to the style",
        "further from the style",
        is_contract=True,
        style_view="",
    ),
    Spec(
        "style_dino",
        "Style, second model",
        "How near do they come through DINO, which looks at form rather than meaning?",
        "the same through DINO, where both are named",
        "higher",
        "styled",
        _style_second,
        "nearer to the style",
        "further from the style",
        is_optional=True,
        style_view="DINO ",
    ),
    Spec(
        "style_texture",
        "Style, texture",
        "How near do edges, flats and colour steps come to those of held-out pictures? Whatever is shown.",
        "the same through statistics of differences between near pixels, which do not care what is shown",
        "higher",
        "styled",
        _texture,
        "nearer in texture",
        "further in texture",
        style_view="texture ",
    ),
    Spec(
        "style_kid",
        "Style, as a set",
        "How far is the whole set from the held-out pictures? Kernel distance, 0 is the same.",
        "kernel distance of the whole set to the held-out pictures, unbiased estimator",
        "lower",
        "styled",
        _kernel,
        "further as a set",
        "nearer as a set",
        digits=4,
    ),
    Spec(
        "prompt",
        "Prompt",
        "How well do the pictures show what the prompt says? Cosine similarity of picture and prompt.",
        "cosine similarity of picture and prompt (CLIP-T, without CLIPScore's factor)",
        "higher",
        "styled",
        _prompt,
        "truer to the prompt",
        "less true to the prompt",
        is_contract=True,
    ),
    Spec(
        "retrieval",
        "Subject found",
        "For which share of the pictures is their own prompt the nearest of all prompts?",
        "share of pictures whose own prompt is the nearest of all prompts in the set",
        "higher",
        "styled",
        _retrieval,
        "found more often",
        "found less often",
    ),
    Spec(
        "diversity",
        "Diversity",
        "How much do pictures of one prompt differ between seeds? Mean cosine distance.",
        "mean cosine distance between the seeds of a prompt",
        "higher",
        "styled",
        _diversity,
        "more varied",
        "less varied",
        is_contract=True,
    ),
    Spec(
        "memorisation",
        "Copies",
        "Which share of the pictures is a training picture come back, moved or mirrored or not?",
        "share of pictures that lie as a training picture does, above the threshold below",
        "lower",
        "styled",
        _memorisation,
        "more copies",
        "fewer copies",
        is_contract=True,
    ),
    Spec(
        "forgetting",
        "Drift",
        "How far do prompts outside the style move away from the base's own pictures? 0 is not at all.",
        "cosine distance to the base's own picture on general prompts; the base's is 0",
        "lower",
        "general",
        _forgetting,
        "moved away",
        "moved nearer",
        is_contract=True,
        is_distance=True,
    ),
    Spec(
        "general_prompt",
        "Prompt, outside the style",
        "How well are prompts followed that have nothing to do with the style?",
        "`prompt`, on general prompts",
        "higher",
        "general",
        _general_prompt,
        "truer to the prompt",
        "less true to the prompt",
        is_optional=True,
    ),
    Spec(
        "validation_loss",
        "Held-out loss",
        "How well does the model predict the noise in held-out pictures? Lower is better.",
        "held-out loss of the base and of the chosen checkpoint, picture by picture",
        "lower",
        "none",
        _loss,
        "predicted worse",
        "predicted better",
        digits=4,
        is_contract=True,
    ),
)
"""Every measure, in the order of the report."""


CONTRACT = tuple(spec.name for spec in MEASURES if spec.is_contract)
"""Measures that metrics.json always has, and that the studio shows as columns."""


VIEWS: Mapping[str, str] = {spec.name: spec.style_view for spec in MEASURES if spec.style_view is not None}
"""Measures of nearness to the style, and how a reason calls each."""
