"""Doubts: what keeps a result from being `better`, because it is not shown, not kept or went wrong before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from veneer.proof.facts import Facts, Losses
from veneer.proof.margins import (
    COPY_MARGIN,
    RETRIEVAL_MARGIN,
    VARIETY_MARGIN,
    Margin,
    may_lose,
    variety,
    within,
)
from veneer.proof.reasons import Reason, more_prompts, more_units, percent, shares, signed
from veneer.proof.style_views import style_rises, style_words
from veneer.stats import Measure

CHANCE = 0.05
"""p-value below which captions are believed to describe their pictures."""
SMOOTHNESS = 0.3
"""Correlation of neighbouring pixels below which training pictures are noise."""
LOSS_RISE = 1.02
"""Held-out loss, as a multiple of the lowest, from which it is said to have risen."""
DOUBTS: Mapping[str, str] = {
    "no-held-out-pictures": "no picture was held out to measure by",
    "too-few-prompts": "too few prompts to tell",
    "style-same": "no sure difference",
    "prompt-unknown": "faithfulness to the prompt is not known",
    "prompt-unsure": "perhaps less true to the prompt",
    "subject-unsure": "perhaps with fewer subjects found",
    "memorised": "perhaps by copying training pictures",
    "variety-unsure": "perhaps with less variety",
    "overfit": "trained too long",
    "diverged": "held-out pictures are predicted worse",
    "captions-mismatch": "the captions do not fit their pictures",
    "held-out-leaked": "held-out pictures were trained on",
    "pictures-noise": "the training pictures look like noise",
}
"""Each doubt in a few words, for the headline."""


def unknowns(measures: Mapping[str, Measure | None], facts: Facts, margin: Margin) -> Iterator[Reason]:
    """What is not shown of style and prompt; each of them keeps the verdict from being `better`."""
    style, prompt = measures.get("style"), measures.get("prompt")
    if style is None:
        text = "nearness to the style cannot be measured without held-out pictures"
        yield Reason("no-held-out-pictures", text, "Set train.validation_share to 0.1", decides=True)
    elif style.ci95 is None:
        text = f"nearness to the style: {style.note}"
        yield Reason("too-few-prompts", text, more_prompts(style), decides=True)
    elif not style_rises(measures):
        text = f"no nearer to the style ({style_words(measures)})"
        yield Reason("style-same", text, _style_todo(facts), decides=True)
    if prompt is None:
        text = "faithfulness to the prompt cannot be measured by an embedder that reads no text"
        yield Reason("prompt-unknown", text, "Name a CLIP model in compare.embedder", decides=True)
    elif prompt.ci95 is not None and not prompt.holds(margin.whole):
        text = f"the prompt measure may have fallen too far ({signed(prompt, 95)}, {margin.words})"
        todo = more_units(prompt, margin.whole)
        todo = f"{todo}, or train fewer steps" if style_rises(measures) else todo
        yield Reason("prompt-unsure", text, todo, decides=True)


def guards(measures: Mapping[str, Measure | None]) -> Iterator[Reason]:
    """What must be shown to be kept: each is a test that the loss is within a margin."""
    retrieval, copies = measures.get("retrieval"), measures.get("memorisation")
    diversity = measures.get("diversity")
    if may_lose(retrieval, RETRIEVAL_MARGIN):
        text = f"the prompt's subject is found in {shares(retrieval)}: {within(retrieval, RETRIEVAL_MARGIN)}"
        todo = f"{more_units(retrieval, RETRIEVAL_MARGIN)}; where it fell, a lower compare.scale"
        yield Reason("subject-unsure", text, todo, decides=True)
    if may_lose(copies, COPY_MARGIN):
        text = f"memorised: {percent(copies.tuned)} of the pictures copy a training picture, the base's "
        text += f"{percent(copies.base)}: {within(copies, COPY_MARGIN)}"
        yield Reason("memorised", text, "Train fewer steps, or on more pictures", decides=True)
    varied = variety(diversity)
    if diversity is not None and may_lose(varied, VARIETY_MARGIN):
        change = f"{diversity.base:.3f} to {diversity.tuned:.3f}"
        least = f"{percent(1 + varied.ci95[0] if varied.ci95 else 0.0)} of the base's left at least"
        text = f"pictures of one prompt may differ too little between seeds ({change}, {least})"
        todo = "Train fewer steps, on more pictures, or draw more generate.seeds"
        yield Reason("variety-unsure", text, todo, decides=True)


def causes(measures: Mapping[str, Measure | None], facts: Facts) -> Iterator[Reason]:
    """What went wrong before; each keeps the verdict from being `better`, and explains a `worse`."""
    yield from _loss_doubts(measures.get("validation_loss"), facts.losses)
    if facts.caption_p_value is not None and facts.caption_p_value >= CHANCE:
        text = "the captions fit their pictures no better than captions dealt at random"
        todo = "Look at dataset/metadata.csv; caption again with `veneer caption`"
        yield Reason("captions-mismatch", text, todo, decides=True)
    if facts.num_leaked:
        text = (
            f"{facts.num_leaked} of {facts.num_held_out} held-out pictures are near copies of training ones"
        )
        todo = "Remove copies with `veneer check`, and hold out pictures that training does not see"
        yield Reason("held-out-leaked", text, todo, decides=True)
    if facts.smoothness is not None and facts.smoothness < SMOOTHNESS:
        yield Reason(
            "pictures-noise", "the training pictures look like noise", "Look at dataset/images", decides=True
        )


def _loss_doubts(measure: Measure | None, losses: Losses | None) -> Iterator[Reason]:
    if losses is None or not loss_rose(measure, losses):
        return
    text = f"held-out loss {losses.chosen:.4f} at step {losses.chosen_step}, the base's is {losses.base:.4f}"
    if losses.best < losses.base:
        todo = f"Take the checkpoint of step {losses.best_step}: train.choose=validation"
        yield Reason("overfit", f"{text}; it rose after step {losses.best_step}", todo, decides=True)
    else:
        todo = "Train again with a tenth of train.learning_rate, and look at the captions"
        yield Reason("diverged", f"{text}, and no checkpoint was below it", todo, decides=True)


def loss_rose(measure: Measure | None, losses: Losses) -> bool:
    """Whether held-out pictures are surely predicted worse; by a fiftieth where there is no interval."""
    if measure is not None and measure.ci95 is not None:
        return measure.ci95[0] > 0
    return losses.chosen > LOSS_RISE * losses.base


def _style_todo(facts: Facts) -> str:
    losses = facts.losses
    if losses and losses.best_step == losses.last_step:
        return "Train longer: held-out loss was still falling at the end"
    return "Raise train.learning_rate or lora.rank, or add pictures"
