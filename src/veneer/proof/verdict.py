"""One word for a comparison, `better`, `worse`, `trade` or `not shown`, by the rules of docs/verdict.md.

The rules are pure: they read measures and facts, and touch neither pictures nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeGuard

from veneer.proof.measures import VIEWS
from veneer.stats import MIN_UNITS, Measure, units_needed

Word = Literal["better", "worse", "trade", "not shown"]
OLD_WORDS: Mapping[str, Word] = {"no different": "not shown"}
"""Words of older files, and what they are called now."""

RETRIEVAL_MARGIN = 0.1
"""Fall of the share of subjects found that still counts as none."""
COST_CAP = 0.05
"""Most that the style's own cost can add to the prompt's margin."""
MIN_COST_CAPTIONS = 5
"""Fewest held-out captions that tell what the style costs."""
BROKEN_SHARE = 0.05
"""Share of pictures that may be black or empty."""
COPY_MARGIN = 0.1
"""Rise of the share of copies of training pictures that still counts as none."""
CHANCE = 0.05
"""p-value below which captions are believed to describe their pictures."""
MIN_HELD_OUT = 4
"""Held-out pictures below which a word of caution is due."""
SMOOTHNESS = 0.3
"""Correlation of neighbouring pixels below which training pictures are noise."""
LOSS_RISE = 1.02
"""Held-out loss, as a multiple of the lowest, from which it is said to have risen."""
DIVERSITY_LOST = 0.5
"""Share of the base's diversity below which the tuned model is said to repeat itself."""
DIVERSITY_KEPT = 1 / 3
"""Share of the base's diversity that must surely be left."""
SMALLEST = 0.005
"""Difference in a view below which it counts as none, however sure: an adapter that hardly acts is surely,
and for nobody to see, a little different."""


@dataclass(frozen=True)
class Reason:
    """Why the verdict is what it is, or what else the user should know.

    Attributes:
        code: Short fixed name, such as "prompt-fell".
        text: What was found, with numbers.
        todo: The next thing to try; empty where there is nothing to do.
        decides: Whether the verdict rests on it.
    """

    code: str
    text: str
    todo: str = ""
    decides: bool = False

    def plain(self) -> dict[str, str | bool]:
        """Write as plain data.

        Returns:
            The object that metrics.json holds.
        """
        return asdict(self)


@dataclass(frozen=True)
class Losses:
    """Held-out loss over the run.

    Attributes:
        chosen: Of the chosen checkpoint.
        best: Lowest of all checkpoints.
        last: Of the last checkpoint.
    """

    base: float
    chosen: float
    chosen_step: int
    best: float
    best_step: int
    last: float
    last_step: int


@dataclass(frozen=True)
class Facts:
    """What the rules read beside the measures.

    Attributes:
        num_prompts: Prompts that call the style.
        num_held_out: Held-out pictures.
        num_pictures: Pictures of each model.
        num_identical: Pairs in which base and tuned picture are the same, pixel for pixel.
        num_broken: Tuned pictures without content, where the base's has some.
        num_copies: Tuned pictures that copy a training picture.
        losses: Held-out loss over the run; None where it was not measured.
        caption_p_value: How probable the captions' fit to their pictures is by chance; None where unknown, as
            with one caption for all pictures.
        style_cost: By how much true pictures surely lie below the base's of the same captions, in the prompt
            measure; None where fewer than five held-out captions tell.
        smoothness: Mean correlation of neighbouring pixels in the training pictures; None where unknown.
        style_word_share: Share of captions with a word that every prompt of the recipe has; or None.
        side_px: Side of the pictures; None where unknown.
        native_px: Side that the base was trained on; None where unknown.
        has_two_passes: Whether pictures were composed at the base's own size first.
    """

    num_prompts: int
    num_held_out: int
    num_pictures: int
    num_identical: int = 0
    num_broken: int = 0
    num_copies: int = 0
    losses: Losses | None = None
    caption_p_value: float | None = None
    style_cost: float | None = None
    smoothness: float | None = None
    style_word_share: float | None = None
    side_px: int | None = None
    native_px: int | None = None
    has_two_passes: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        word: `better`, `worse`, `trade` or `not shown`.
        reasons: Those that decide first.
        headline: The answer in one plain sentence.
    """

    word: Word
    reasons: tuple[Reason, ...] = field(default_factory=tuple)
    headline: str = ""

    @property
    def todo(self) -> str:
        """The next thing to try; empty where there is none."""
        return next((reason.todo for reason in self.reasons if reason.decides and reason.todo), "")


def as_now(metrics: dict[str, Any]) -> dict[str, Any]:
    """Content of metrics.json in the words of now, whichever version wrote it."""
    word = str(metrics["verdict"])
    now = {"headline": "", "todo": "", **metrics, "verdict": OLD_WORDS.get(word, word)}
    return now | ({"at_native": as_now(now["at_native"])} if now.get("at_native") else {})


@dataclass(frozen=True)
class _Margin:
    """Fall of the prompt measure that still counts as none.

    Attributes:
        asked: The recipe's.
        cost: By how much true pictures of the style surely lie below the base's own, up to
            `COST_CAP`: no model can be asked for more.
    """

    asked: float
    cost: float

    @property
    def whole(self) -> float:
        return self.asked + self.cost

    @property
    def words(self) -> str:
        if not self.cost:
            return f"margin {self.asked:g}"
        cause = "by which true pictures of the same captions lie below the base's"
        return f"margin {self.whole:.3f}: {self.asked:g}, and {self.cost:.3f} {cause}"


def _margin(facts: Facts, asked: float) -> _Margin:
    return _Margin(asked, min(COST_CAP, max(0.0, facts.style_cost or 0.0)))


def judge(measures: Mapping[str, Measure | None], facts: Facts, *, prompt_margin: float = 0.02) -> Verdict:
    """Say in one word whether the tuned model beats the base.

    Args:
        measures: The measures by name; "style" and "prompt" decide.
        facts: What else the rules read.
        prompt_margin: Fall of the prompt measure that still counts as none, in cosine similarity; what the
            style itself costs is added.

    Returns:
        The verdict with its reasons.
    """
    notes = tuple(_notes(measures, facts))
    if facts.num_identical == facts.num_pictures:
        return Verdict("not shown", (_nothing_changed(facts), *notes), "The adapter changes nothing")
    margin = _margin(facts, prompt_margin)
    causes = tuple(_causes(measures, facts))
    rises, faults = style_rises(measures), tuple(_faults(measures, facts, margin))
    if faults:
        is_trade = rises and {fault.code for fault in faults} <= {"prompt-fell", "subject-lost"}
        shown = (_style_rose(measures), *faults) if is_trade else faults
        headline = f"Nearer to the style, {_lost(faults)}" if is_trade else _capital(_lost(faults))
        return Verdict("trade" if is_trade else "worse", (*shown, *causes, *notes), headline)
    doubts = (*_unknowns(measures, facts, margin), *_guards(measures), *causes)
    if doubts:
        open_question = "Nearer to the style, but" if rises else "Not shown to be nearer to the style:"
        return Verdict("not shown", doubts + notes, f"{open_question} {DOUBTS[doubts[0].code]}")
    prompt = measures["prompt"]
    assert prompt is not None
    kept = Reason(
        "prompt-kept", f"as true to the prompt ({signed(prompt, 95)}, {margin.words})", decides=True
    )
    headline = "Nearer to the style, as true to the prompt"
    return Verdict("better", (_style_rose(measures), kept, *notes), headline)


FAULTS: Mapping[str, str] = {
    "broken-pictures": "pictures are black or empty",
    "style-fell": "further from the style",
    "prompt-fell": "less true to the prompt",
    "subject-lost": "subjects are lost",
}
"""Each fault in a few words, for the headline."""
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
    "pictures-noise": "the training pictures look like noise",
}
"""Each doubt in a few words, for the headline."""


def _lost(faults: Sequence[Reason]) -> str:
    return ", ".join(FAULTS[fault.code] for fault in faults)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _style_rose(measures: Mapping[str, Measure | None]) -> Reason:
    shares = [
        f"{_percent(view.share)}{' in ' + VIEWS[name].strip() if VIEWS[name] else ''}"
        for name in VIEWS
        if (view := measures.get(name)) is not None and view.share is not None
    ]
    far = f", {' and '.join(shares)} of the way to the held-out pictures" if shares else ""
    return Reason("style-rose", f"nearer to the style ({style_words(measures)}){far}", decides=True)


def _faults(measures: Mapping[str, Measure | None], facts: Facts, margin: _Margin) -> Iterator[Reason]:
    """Each of them makes the verdict `worse`, or a `trade` where only the prompt paid for a nearer style."""
    prompt, retrieval = measures.get("prompt"), measures.get("retrieval")
    if facts.num_broken > max(1, BROKEN_SHARE * facts.num_pictures):
        text = f"{facts.num_broken} of {facts.num_pictures} tuned pictures are black or empty"
        todo = "Train again with a tenth of train.learning_rate"
        yield Reason("broken-pictures", text, todo, decides=True)
    if style_falls(measures):
        text = f"further from the style than the base ({style_words(measures)})"
        yield Reason("style-fell", text, "Lower train.learning_rate, or train fewer steps", decides=True)
    if prompt is not None and prompt.falls and prompt.gain < -margin.whole:
        text = f"less true to the prompt ({signed(prompt)}, {margin.words})"
        todo = "Lower compare.scale, train fewer steps, or mend the captions"
        yield Reason("prompt-fell", text, todo, decides=True)
    if retrieval is not None and retrieval.falls and retrieval.gain < -RETRIEVAL_MARGIN:
        text = f"the prompt's subject is found in {_shares(retrieval)}"
        todo = "Lower compare.scale, train fewer steps, or mend the captions"
        yield Reason("subject-lost", text, todo, decides=True)


def _unknowns(measures: Mapping[str, Measure | None], facts: Facts, margin: _Margin) -> Iterator[Reason]:
    """What is not shown of style and prompt; each of them keeps the verdict from being `better`."""
    style, prompt = measures.get("style"), measures.get("prompt")
    if style is None:
        text = "nearness to the style cannot be measured without held-out pictures"
        yield Reason("no-held-out-pictures", text, "Set train.validation_share to 0.1", decides=True)
    elif style.ci95 is None:
        text = f"nearness to the style: {style.note}"
        yield Reason("too-few-prompts", text, _more_prompts(style), decides=True)
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


def _guards(measures: Mapping[str, Measure | None]) -> Iterator[Reason]:
    """What must be shown to be kept: each is a test that the loss is within a margin."""
    retrieval, copies = measures.get("retrieval"), measures.get("memorisation")
    diversity = measures.get("diversity")
    if _may_lose(retrieval, RETRIEVAL_MARGIN):
        text = (
            f"the prompt's subject is found in {_shares(retrieval)}: {_within(retrieval, RETRIEVAL_MARGIN)}"
        )
        todo = f"{more_units(retrieval, RETRIEVAL_MARGIN)}; where it fell, a lower compare.scale"
        yield Reason("subject-unsure", text, todo, decides=True)
    if _may_lose(copies, COPY_MARGIN):
        text = f"memorised: {_percent(copies.tuned)} of the pictures copy a training picture, the base's "
        text += f"{_percent(copies.base)}: {_within(copies, COPY_MARGIN)}"
        yield Reason("memorised", text, "Train fewer steps, or on more pictures", decides=True)
    if diversity is not None and _may_lose(diversity, (1 - DIVERSITY_KEPT) * diversity.base):
        change = f"{diversity.base:.3f} to {diversity.tuned:.3f}"
        text = f"pictures of one prompt may differ too little between seeds ({change})"
        todo = "Train fewer steps, on more pictures, or draw more generate.seeds"
        yield Reason("variety-unsure", text, todo, decides=True)


def _may_lose(measure: Measure | None, margin: float) -> TypeGuard[Measure]:
    """Whether a loss beyond the margin is not excluded; a measure without interval excludes nothing else."""
    return measure is not None and measure.ci95 is not None and not measure.holds(margin)


def _within(measure: Measure, margin: float) -> str:
    return f"a loss above {_percent(margin)} is not excluded ({signed(measure, 95)})"


def _shares(measure: Measure) -> str:
    return f"{_percent(measure.tuned)} of pictures, with the base in {_percent(measure.base)}"


def _more_prompts(measure: Measure) -> str:
    missing = max(1, MIN_UNITS - measure.n)
    return f"Add {missing} {'prompt' if missing == 1 else 'prompts'} at least, or compare.held_out_prompts"


def more_units(measure: Measure, margin: float) -> str:
    """How many prompts would show that a loss is within a margin, if it stays what it is."""
    needed = units_needed(measure, margin)
    if needed is None or needed <= measure.n:
        return "Add prompts"
    return f"Add prompts: about {needed} in all would tell"


def _causes(measures: Mapping[str, Measure | None], facts: Facts) -> Iterator[Reason]:
    """What went wrong before; each keeps the verdict from being `better`, and explains a `worse`."""
    yield from _loss_doubts(measures.get("validation_loss"), facts.losses)
    if facts.caption_p_value is not None and facts.caption_p_value >= CHANCE:
        text = "the captions fit their pictures no better than captions dealt at random"
        todo = "Look at dataset/metadata.csv; caption again with `veneer caption`"
        yield Reason("captions-mismatch", text, todo, decides=True)
    if facts.smoothness is not None and facts.smoothness < SMOOTHNESS:
        yield Reason(
            "pictures-noise", "the training pictures look like noise", "Look at dataset/images", decides=True
        )


def _loss_doubts(measure: Measure | None, losses: Losses | None) -> Iterator[Reason]:
    if losses is None or not _loss_rose(measure, losses):
        return
    text = f"held-out loss {losses.chosen:.4f} at step {losses.chosen_step}, the base's is {losses.base:.4f}"
    if losses.best < losses.base:
        todo = f"Take the checkpoint of step {losses.best_step}: train.choose=validation"
        yield Reason("overfit", f"{text}; it rose after step {losses.best_step}", todo, decides=True)
    else:
        todo = "Train again with a tenth of train.learning_rate, and look at the captions"
        yield Reason("diverged", f"{text}, and no checkpoint was below it", todo, decides=True)


def _loss_rose(measure: Measure | None, losses: Losses) -> bool:
    """Whether held-out pictures are surely predicted worse; by a fiftieth where there is no interval."""
    if measure is not None and measure.ci95 is not None:
        return measure.ci95[0] > 0
    return losses.chosen > LOSS_RISE * losses.base


def _notes(measures: Mapping[str, Measure | None], facts: Facts) -> Iterator[Reason]:
    """What does not decide, but should be known."""
    losses, general, style = facts.losses, measures.get("general_prompt"), measures.get("style")
    diversity = measures.get("diversity")
    if style is not None and style.unit == "pictures" and facts.num_prompts < MIN_UNITS:
        text = f"only {facts.num_prompts} of {MIN_UNITS} prompts: the answer is about these, not about others"
        yield Reason("few-prompts", text, _more_prompts(replace(style, n=facts.num_prompts)))
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
            f"captions carry no style word: {_percent(facts.style_word_share)} share a word with every prompt"
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


def _nothing_changed(facts: Facts) -> Reason:
    text = f"the adapter changes nothing: all {facts.num_pictures} pictures equal the base's, pixel for pixel"
    todo = "Look at compare.scale, and whether the adapter was trained at all"
    return Reason("adapter-changes-nothing", text, todo, decides=True)


def _style_todo(facts: Facts) -> str:
    losses = facts.losses
    if losses and losses.best_step == losses.last_step:
        return "Train longer: held-out loss was still falling at the end"
    return "Raise train.learning_rate or lora.rank, or add pictures"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def style_rises(measures: Mapping[str, Measure | None]) -> bool:
    """Whether the pictures come nearer to the style.

    Returns:
        True where a view rises and none falls, by their 99 % intervals and by `SMALLEST` at least.
    """
    views = _views(measures)
    return any(map(_rises, views)) and not any(map(_falls, views))


def style_falls(measures: Mapping[str, Measure | None]) -> bool:
    """Whether the pictures go further from the style.

    Returns:
        True where a view falls and none rises, by their 99 % intervals and by `SMALLEST` at least.
    """
    views = _views(measures)
    return any(map(_falls, views)) and not any(map(_rises, views))


def style_words(measures: Mapping[str, Measure | None]) -> str:
    """Put the views of style into words.

    Returns:
        Each difference with its interval.
    """
    known = {name: measures.get(name) for name in VIEWS}
    return "; ".join(f"{VIEWS[name]}{signed(view)}" for name, view in known.items() if view is not None)


def signed(measure: Measure, level: Literal[95, 99] = 99) -> str:
    """Put a difference into words.

    Args:
        level: Which interval, in per cent.

    Returns:
        The difference with its sign and interval, or why there is none.
    """
    interval = measure.certain if level == 99 else measure.ci95
    if interval is None:
        return f"{measure.delta:+.3f}, {measure.note}"
    return f"{measure.delta:+.3f}, {level} % interval {interval[0]:+.3f} to {interval[1]:+.3f}"


def _rises(view: Measure) -> bool:
    return view.rises and view.gain >= SMALLEST


def _falls(view: Measure) -> bool:
    return view.falls and view.gain <= -SMALLEST


def _views(measures: Mapping[str, Measure | None]) -> list[Measure]:
    return [view for view in (measures.get(name) for name in VIEWS) if view is not None]
