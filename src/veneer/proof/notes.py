"""Notes beside a verdict: what does not decide, but should be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from veneer.intervals import MIN_UNITS
from veneer.proof.doubts import LOSS_RISE
from veneer.proof.facts import Facts
from veneer.proof.reasons import Reason, more_prompts, percent, signed
from veneer.stats import Measure

MIN_HELD_OUT = 4
"""Held-out pictures below which a word of caution is due."""
DIVERSITY_LOST = 0.5
"""Share of the base's diversity below which the tuned model is said to repeat itself."""


def notes(measures: Mapping[str, Measure | None], facts: Facts) -> Iterator[Reason]:
    """What does not decide, but should be known."""
    losses, general, style = facts.losses, measures.get("general_prompt"), measures.get("style")
    diversity = measures.get("diversity")
    if style is not None and style.unit == "pictures" and facts.num_prompts < MIN_UNITS:
        text = f"only {facts.num_prompts} of {MIN_UNITS} prompts: the answer is about these, not about others"
        yield Reason("few-prompts", text, more_prompts(replace(style, n=facts.num_prompts)))
    if style is not None and facts.num_held_out < MIN_HELD_OUT:
        text = f"{facts.num_held_out} held-out pictures stand for the whole style"
        yield Reason("few-held-out", text, "Give more pictures, or raise train.validation_share")
    if losses and losses.last > LOSS_RISE * losses.best and losses.chosen <= losses.base:
        text = f"held-out loss rose after step {losses.best_step}; step {losses.chosen_step} was taken"
        yield Reason("overfit-later", text, f"{losses.best_step} steps would have done")
    if facts.side_px and facts.native_px and facts.side_px > facts.native_px and not facts.has_two_passes:
        text = f"pictures of {facts.side_px} px are above the base's own {facts.native_px} px"
        yield Reason("resolution-above-base", text, "Set generate.two_pass, or a smaller generate.resolution")
    if facts.style_word_share is not None and facts.style_word_share < 0.5:
        text = (
            f"captions carry no style word: {percent(facts.style_word_share)} share a word with every prompt"
        )
        yield Reason(
            "no-style-word", text, "Set caption.prefix or caption.trigger, and use it in the prompts"
        )
    if general is not None and general.falls and general.gain < -0.02:
        text = f"forgetting: prompts outside the style are followed less ({signed(general)})"
        yield Reason("forgets", text, "Lower compare.scale, or set train.prior_loss_weight")
    if diversity is not None and diversity.falls and diversity.tuned < DIVERSITY_LOST * diversity.base:
        change = f"{diversity.base:.3f} to {diversity.tuned:.3f}"
        text = f"pictures of one prompt differ less between seeds ({change})"
        yield Reason("less-varied", text, "Train fewer steps, or on more pictures")
