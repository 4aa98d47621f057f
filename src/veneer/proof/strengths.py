"""The strength at which what the verdict asks is surest, found where the verdict never looks.

A LoRA at full strength often costs more of the prompt than it brings in style, and is better than the base
at a lower one. Strengths are tried on prompts, seeds and held-out pictures that choose and do not judge
(`veneer.encoding.choosing`), so that the verdict on the one taken is that of a single look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from veneer.config import Recipe
from veneer.events import OnEvent, ignore
from veneer.lora.usage import LoraUsage
from veneer.machine import pick_device
from veneer.models.embedder import choose_embedders
from veneer.models.sampling import Sampler
from veneer.proof.comparison import Comparison
from veneer.proof.evidence import References
from veneer.proof.margins import COPY_MARGIN, RETRIEVAL_MARGIN, VARIETY_MARGIN, margin_of, variety
from veneer.proof.measures import VIEWS
from veneer.proof.pairs import Pair
from veneer.proof.sweep import Swept, draw_beside, sweep_pairs
from veneer.recipe import fingerprint
from veneer.records.cache import CachedItem
from veneer.records.files import hash_file
from veneer.records.run import RunDir
from veneer.records.strength import Strength, Tried, known_strength
from veneer.stats import Measure

MOST_SURE = 1000.0
"""Sureness of an interval without width, which JSON can write."""


def strength_of(run: RunDir, recipe: Recipe) -> float:
    """The strength that a run's pictures are drawn with: the one that was found, or the recipe's."""
    found = known_strength(run.strength_json) if recipe.compare.scales else None
    return found.scale if found else recipe.compare.scale


def usage_of(run: RunDir, recipe: Recipe) -> LoraUsage:
    """How the run's LoRA is used in other tools, at the strength that is compared."""
    words = " ".join(word for word in (recipe.caption.trigger, recipe.caption.prefix) if word)
    return LoraUsage(run.name, strength_of(run, recipe), words)


@dataclass(frozen=True)
class Chooser:
    """What strengths are tried on, none of which the verdict looks at but the training pictures.

    Attributes:
        jobs: Prompts with their seeds.
    """

    jobs: Sequence[tuple[str, int]]
    held_out: Sequence[CachedItem]
    training: Sequence[CachedItem]


def find_strength(
    run: RunDir,
    recipe: Recipe,
    sampler: Sampler,
    chooser: Chooser,
    on_event: OnEvent = ignore,
    *,
    beside: Sequence[Pair] = (),
) -> Strength:
    """Draw with every strength of ``compare.scales``, and take the one whose weakest claim is the surest.

    Pictures go to ``samples/strengths``, the answer to ``samples/strength.json``; what was found before for
    the same adapter, prompts and settings is taken as it is.

    Args:
        sampler: The base, no adapter on it; it comes back so.
        beside: The base's pictures of these prompts and seeds where they are drawn already.

    Raises:
        AdapterError: If the adapter does not fit the base.
        VeneerError: If an embedder cannot be loaded.
    """
    scales = sorted(set(recipe.compare.scales))
    settings = recipe.model_dump(mode="json", include={"base", "generate", "compare", "encode"})
    made_with = fingerprint([hash_file(run.lora_file), chooser.jobs, settings])
    known = known_strength(run.strength_json)
    if known is not None and known.made_with == made_with:
        return known
    swept = sweep_pairs(
        sampler,
        beside or draw_beside(sampler, chooser.jobs, run.strength_samples),
        {run.lora_file: _references(run, chooser)},
        scales,
        out=run.strength_samples,
        embedders=choose_embedders(recipe.compare.embedder, recipe.base.model, pick_device()),
        prompt_margin=recipe.compare.prompt_margin,
        on_event=on_event,
    )
    found = surest(swept, made_with, recipe.compare.prompt_margin)
    found.write(run.strength_json)
    return found


def surest(swept: Sequence[Swept], made_with: str, prompt_margin: float) -> Strength:
    """Take the strength whose weakest claim is the surest; of equals, the stronger."""
    tried = tuple(_tried(one, prompt_margin) for one in sorted(swept, key=lambda one: one.scale))
    best = max(tried, key=lambda one: (one.sureness, one.scale))
    return Strength(scale=best.scale, made_with=made_with, tried=tried)


def _tried(one: Swept, prompt_margin: float) -> Tried:
    measures = one.comparison.measures
    style, prompt = measures.get("style"), measures.get("prompt")
    claims = dict(_claims(one.comparison, prompt_margin))
    known = {
        name: measure.plain()
        for name in (*claims, *VIEWS, "prompt")
        if (measure := measures.get(name)) is not None
    }
    return Tried(
        scale=one.scale,
        style=round(style.gain, 4) if style else 0.0,
        prompt=round(prompt.gain, 4) if prompt else None,
        sureness=round(min(claims.values()), 3),
        claims={name: round(sure, 3) for name, sure in claims.items()},
        measures=known,
    )


def _claims(found: Comparison, prompt_margin: float) -> Iterator[tuple[str, float]]:
    """How sure each thing is that `better` takes: style nearer, and nothing lost beyond its margin."""
    measures = {**found.measures, "diversity": variety(found.measures.get("diversity"))}
    yield "style", max((sureness(measures[name], 0.0) for name in VIEWS if name in measures), default=0.0)
    kept = {
        "prompt": margin_of(found.facts, prompt_margin).whole,
        "retrieval": RETRIEVAL_MARGIN,
        "memorisation": COPY_MARGIN,
        "diversity": VARIETY_MARGIN,
    }
    for name, margin in kept.items():
        measure = measures.get(name)
        if measure is not None and measure.ci95 is not None:
            yield name, sureness(measure, margin)


def sureness(measure: Measure | None, margin: float) -> float:
    """By how much a loss beyond a margin is excluded, in reaches of the 95 % interval.

    Returns:
        Above 1 where it is excluded, below 0 where it is there, within `MOST_SURE` either way; 0 without an
        interval, or where nothing moved and nothing was allowed to.
    """
    if measure is None or measure.ci95 is None:
        return 0.0
    room, reach = measure.gain + margin, measure.reach
    if not reach:
        return math.copysign(MOST_SURE, room) if room else 0.0
    return max(-MOST_SURE, min(MOST_SURE, room / reach))


def _references(run: RunDir, chooser: Chooser) -> References:
    held_out, training = chooser.held_out, chooser.training
    return References(
        held_out=tuple(run.dataset / item.file_name for item in held_out),
        training=tuple(run.dataset / item.file_name for item in training),
        captions=tuple(item.caption for item in training),
        held_out_captions=tuple(item.caption for item in held_out),
    )
