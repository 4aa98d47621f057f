"""One word for a comparison, `better`, `worse`, `trade` or `not shown`, by the rules of docs/verdict.md.

The rules are pure: they read measures and facts, and touch neither pictures nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from veneer.proof import doubts, notes
from veneer.proof.doubts import DOUBTS
from veneer.proof.facts import Facts
from veneer.proof.margins import RETRIEVAL_MARGIN, Margin, margin_of
from veneer.proof.measures import VIEWS
from veneer.proof.reasons import Reason, percent, shares, signed
from veneer.proof.style_views import style_falls, style_rises, style_words
from veneer.stats import Measure

Word = Literal["better", "worse", "trade", "not shown"]
"""Words of older files, and what they are called now."""
FAINT_SHARE = 0.25
"""Share of the way, in the view of style that saw least of it, below which the style is said to be faint."""
BROKEN_SHARE = 0.05
"""Share of pictures that may be black or empty."""
FAULTS: Mapping[str, str] = {
    "broken-pictures": "pictures are black or empty",
    "style-fell": "further from the style",
    "prompt-fell": "less true to the prompt",
    "subject-lost": "subjects are lost",
}
"""Each fault in a few words, for the headline."""


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
    noted = tuple(notes.notes(measures, facts))
    if facts.num_identical == facts.num_pictures:
        return Verdict("not shown", (_nothing_changed(facts), *noted), "The adapter changes nothing")
    margin = margin_of(facts, prompt_margin)
    causes = tuple(doubts.causes(measures, facts))
    rises, faults = style_rises(measures), tuple(_faults(measures, facts, margin))
    if faults:
        is_trade = rises and {fault.code for fault in faults} <= {"prompt-fell", "subject-lost"}
        shown = (_style_rose(measures), *faults) if is_trade else faults
        headline = f"{_nearer(measures)}, {_lost(faults)}" if is_trade else _capital(_lost(faults))
        return Verdict("trade" if is_trade else "worse", (*shown, *causes, *noted), headline)
    open_ = (*doubts.unknowns(measures, facts, margin), *doubts.guards(measures), *causes)
    if open_:
        open_question = f"{_nearer(measures)}, but" if rises else "Not shown to be nearer to the style:"
        return Verdict("not shown", open_ + noted, f"{open_question} {DOUBTS[open_[0].code]}")
    prompt = measures["prompt"]
    assert prompt is not None
    kept = Reason(
        "prompt-kept", f"as true to the prompt ({signed(prompt, 95)}, {margin.words})", decides=True
    )
    headline = f"{_nearer(measures)}, as true to the prompt"
    todo = "Raise compare.scale, or train longer, for more of the style" if _is_faint(measures) else ""
    return Verdict("better", (replace(_style_rose(measures), todo=todo), kept, *noted), headline)


def _lost(faults: Sequence[Reason]) -> str:
    return ", ".join(FAULTS[fault.code] for fault in faults)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _style_rose(measures: Mapping[str, Measure | None]) -> Reason:
    ways = [
        f"{_way(view.share)}{' in ' + VIEWS[name].strip() if VIEWS[name] else ''}"
        for name in VIEWS
        if (view := measures.get(name)) is not None and view.share is not None
    ]
    far = f"; {' but '.join(ways) if _is_faint(measures) else ' and '.join(ways)}" if ways else ""
    return Reason("style-rose", f"nearer to the style ({style_words(measures)}){far}", decides=True)


def _nearer(measures: Mapping[str, Measure | None]) -> str:
    return "A little nearer to the style" if _is_faint(measures) else "Nearer to the style"


def _is_faint(measures: Mapping[str, Measure | None]) -> bool:
    """Whether a view of style saw hardly any of the way, whatever others saw: a person sees little too."""
    seen = [view.share for name in VIEWS if (view := measures.get(name)) and view.share is not None]
    return bool(seen) and min(seen) < FAINT_SHARE


def _way(share: float) -> str:
    """How far a share of the way is; above 1 it says nothing more.

    Pictures of a model are more alike than those of a person, and some show the very subject that is held
    out: they may be nearer to the held-out pictures than these are to each other.
    """
    if share > 1:
        return "as near as the held-out pictures are to each other"
    return f"{percent(share)} of the way to the held-out pictures"


def _faults(measures: Mapping[str, Measure | None], facts: Facts, margin: Margin) -> Iterator[Reason]:
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
        text = f"the prompt's subject is found in {shares(retrieval)}"
        todo = "Lower compare.scale, train fewer steps, or mend the captions"
        yield Reason("subject-lost", text, todo, decides=True)


def _nothing_changed(facts: Facts) -> Reason:
    text = f"the adapter changes nothing: all {facts.num_pictures} pictures equal the base's, pixel for pixel"
    todo = "Look at compare.scale, and whether the adapter was trained at all"
    return Reason("adapter-changes-nothing", text, todo, decides=True)
