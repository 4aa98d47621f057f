"""The candidates of a run: every set of weights that was judged, which is best, and why training stopped.

``train/candidates.json`` is what `export` and the report read. Losses are means over the held-out pictures;
each candidate also has the loss of every picture, so that candidates and base can be compared in pairs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, TypeGuard

from pydantic import Field

from veneer.config import Choice
from veneer.records.files import Record
from veneer.records.run import RunDir

WeightsKind = Literal["step", "ema", "average"]


class Candidate(Record):
    """One judged set of weights."""

    step: int
    """Step after which it was judged."""
    kind: WeightsKind
    """The weights themselves, their moving average, or a mean of checkpoints."""
    loss: float | None
    """Held-out loss, or None where nothing is held out."""
    losses: tuple[float, ...] = ()
    """Held-out loss of each picture."""
    by_timestep: tuple[float, ...] = ()
    """Held-out loss of each stratum of timesteps, from little noise to much."""
    path: str | None = None
    """Its adapter, relative to the run folder; None where it was not kept."""
    style: float | None = None
    """Likeness of its pictures to the held-out ones, in [-1, 1]; None where style does not choose."""


class Chosen(Candidate):
    """The candidate that became the result."""

    reason: str = ""
    """Why, in plain words."""


class Incident(Record):
    """Something that went wrong or was changed while training."""

    step: int
    """Step at which it did."""
    code: str
    """Short fixed name."""
    message: str
    """What, and what was done about it."""


class CandidatesFile(Record):
    """What training found out: ``train/candidates.json``. Nothing is known before the end of training."""

    chosen: Chosen | None = None
    """The result."""
    base_loss: float | None = None
    """Held-out loss of the untuned base."""
    base: Candidate | None = None
    """The untuned base, judged like a candidate."""
    pictures: tuple[str, ...] = ()
    """Names of the held-out pictures, in the order of every ``losses``."""
    candidates: tuple[Candidate, ...] = ()
    """Judged weights in order."""
    stopped: str | None = None
    """Why training ended before its last step; None otherwise."""
    events: tuple[Incident, ...] = ()
    """What went wrong or was changed on the way."""


def known_candidates(run: RunDir) -> CandidatesFile:
    """Read what is known about the candidates of a run.

    Returns:
        Its ``candidates.json``; an empty record before the end of training.

    Raises:
        RunError: If the file is damaged.
    """
    if not run.candidates_json.is_file():
        return CandidatesFile()
    return CandidatesFile.read(run.candidates_json, "Train again: `veneer train RUN`")


class Candidates(Record, frozen=False):
    """What is known about the candidates while a run trains; part of every checkpoint."""

    base: Candidate | None = None
    """The untuned base, or None before it is measured."""
    candidates: list[Candidate] = Field(default_factory=list)
    """Judged weights in order."""
    events: list[Incident] = Field(default_factory=list)
    """What went wrong or was changed on the way."""
    stopped: str | None = None
    """Why training ended before its last step; None otherwise."""
    without_gain: int = 0
    """Validations since the lowest loss."""

    @property
    def best(self) -> Candidate | None:
        """The candidate nearest in style where that was measured, otherwise of the lowest loss."""
        styled = [(-c.style, n) for n, c in enumerate(self.candidates) if is_number(c.style)]
        judged = [(c.loss, n) for n, c in enumerate(self.candidates) if is_number(c.loss)]
        ranked = styled or judged
        return self.candidates[min(ranked)[1]] if ranked else None

    def add(self, candidate: Candidate) -> bool:
        """Add a candidate."""
        self.candidates.append(candidate)
        return self.best is candidate

    def tell(self, step: int, code: str, message: str) -> None:
        """Record that something happened.

        Args:
            step: Step at which it did.
            code: Short fixed name.
            message: What, and what was done about it.
        """
        self.events.append(Incident(step=step, code=code, message=message))

    def chosen(self, choose: Choice) -> tuple[Candidate | None, str]:
        """Choose the result.

        Args:
            choose: The recipe's rule.

        Returns:
            The candidate and the reason in plain words.
        """
        last = next((c for c in reversed(self.candidates) if c.kind == "step"), None)
        best = self.best
        if choose == "last":
            return last, "the last step, as the recipe says"
        if best is None:
            if self.candidates and any(c.loss is not None for c in self.candidates):
                return last, "the last step, because no held-out loss is a number"
            return last, "the last step, because no picture is held out to choose by"
        return best, self._reason(best)

    def _reason(self, best: Candidate) -> str:
        base = self.base or Candidate(step=0, kind="step", loss=None)
        count = f"{len(self.candidates)} candidates"
        if best.style is not None and base.style is not None:
            against = "above" if best.style > base.style else "NOT above"
            return f"nearest style of {count}: {best.style:.4f}, {against} the base's {base.style:.4f}"
        if best.loss is None or base.loss is None:
            return f"the best of {count}"
        against = "below" if best.loss < base.loss else "NOT below"
        return f"lowest held-out loss of {count}: {best.loss:.5f}, {against} the base's {base.loss:.5f}"

    def forget_missing(self, root: Path) -> None:
        """Take out the paths of weights that were not kept."""
        self.candidates = [
            c if c.path and (root / c.path).is_file() else c.model_copy(update={"path": None})
            for c in self.candidates
        ]

    def finished(self, choose: Choice, pictures: tuple[str, ...]) -> CandidatesFile:
        """What ``candidates.json`` says at the end of training.

        Args:
            choose: The recipe's rule.
            pictures: Names of the held-out pictures, in the order of every ``losses``.

        Returns:
            The record.
        """
        chosen, reason = self.chosen(choose)
        base = self.base or Candidate(step=0, kind="step", loss=None)
        return CandidatesFile(
            chosen=None if chosen is None else Chosen(**chosen.model_dump(), reason=reason),
            base_loss=base.loss,
            base=base,
            pictures=pictures,
            candidates=tuple(self.candidates),
            stopped=self.stopped,
            events=tuple(self.events),
        )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a loss can be compared: NaN is below nothing and above nothing, so it would stay first."""
    return isinstance(value, int | float) and math.isfinite(value)
