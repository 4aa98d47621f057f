"""Which trial is best: the highest lower end of the style's interval among those that lose nothing.

Every trial is looked at on the same prompts, seeds and held-out pictures, paired with the base. The best of
many looks is, in part, the luckiest: intervals are widened for their number, and what is taken is judged once
more on prompts, seeds and held-out pictures that no trial was looked at with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from veneer.intervals import Interval
from veneer.records.candidates import known_candidates
from veneer.records.run import RunDir
from veneer.records.strength import known_strength
from veneer.records.sweeps import TrialRecord
from veneer.stats import Measure, measure_from
from veneer.trials.looks import interval_for_looks

STYLE, PROMPT = "style", "prompt"


@dataclass(frozen=True)
class Standing:
    """A trial and how it did.

    Attributes:
        trial: The trial.
        scale: The strength that was taken for it; None before it was looked at.
        style: Nearness to the style against the base.
        prompt: Faithfulness to the prompt against the base.
        interval: Interval of the style's gain, widened for the number of trials.
        lost: Measures that fell beyond their margin.
        held_out_loss: Of the chosen weights; None where it is not known.
    """

    trial: TrialRecord
    scale: float | None = None
    style: Measure | None = None
    prompt: Measure | None = None
    interval: Interval | None = None
    lost: tuple[str, ...] = ()
    held_out_loss: float | None = None

    @property
    def low(self) -> float:
        """Lower end of the interval; minus infinity where there is none."""
        return -math.inf if self.interval is None else self.interval[0]

    @property
    def is_ranked(self) -> bool:
        """Whether it can be the best one."""
        return self.interval is not None

    @property
    def words(self) -> str:
        """How it did, in a few words."""
        if self.trial.state in {"failed", "stopped"}:
            return f"{self.trial.state}: {self.trial.why}"
        if self.style is None or self.interval is None:
            return "not looked at" if self.style is None else "no interval: too few prompts"
        low, high = self.interval
        cost = f", loses {', '.join(self.lost)}" if self.lost else ""
        return f"style {self.style.gain:+.4f} ({low:+.4f} to {high:+.4f}) at {self.scale:g}{cost}"


LookUp = Callable[[TrialRecord], Standing]
"""How a trial did."""


def standing_of(trial: TrialRecord, run: RunDir) -> Standing:
    """Read how a trial did from its folder; its interval is that of a single look."""
    if trial.state != "done":
        return Standing(trial)
    strength = known_strength(run.strength_json)
    taken = strength.taken if strength else None
    if taken is None:
        return Standing(trial)
    measures = {name: measure_from(plain) for name, plain in taken.measures.items()}
    chosen = known_candidates(run).chosen
    style = measures.get(STYLE)
    return Standing(
        trial,
        taken.scale,
        style,
        measures.get(PROMPT),
        interval_for_looks(style, 1) if style else None,
        tuple(name for name, sure in taken.claims.items() if name != STYLE and sure < 0),
        chosen.loss if chosen else None,
    )


def ranking_of(standings: Sequence[Standing]) -> list[Standing]:
    """Order trials, best first, and widen their intervals for the number of looks.

    Returns:
        First those that lose nothing beyond a margin, by the lower end of the style's interval; then the
        others by the same; those without an interval last, in the order of the trials.
    """
    looks = max(1, sum(one.is_ranked for one in standings))
    paid = [
        replace(one, interval=interval_for_looks(one.style, looks)) if one.style is not None else one
        for one in standings
    ]
    return sorted(paid, key=lambda one: (not one.is_ranked, bool(one.lost), -one.low, one.trial.name))
