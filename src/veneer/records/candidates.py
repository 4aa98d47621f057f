"""The candidates of a run: every set of weights that was judged, which is best, and why training stopped.

``train/candidates.json`` is what `export` and the report read. Losses are means over the held-out pictures;
each candidate also has the loss of every picture, so that candidates and base can be compared in pairs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from veneer.config import Choice
from veneer.records.files import write_json

Kind = Literal["step", "ema", "average"]


@dataclass(frozen=True)
class Candidate:
    """One judged set of weights.

    Attributes:
        step: Step after which it was judged.
        kind: The weights themselves, their moving average, or a mean of checkpoints.
        loss: Held-out loss, or None where nothing is held out.
        losses: Held-out loss of each picture.
        by_timestep: Held-out loss of each stratum of timesteps, from little noise to much.
        path: Its adapter, relative to the run folder; None where it was not kept.
        style: Likeness of its pictures to the held-out ones, in [-1, 1]; None where style does not choose.
    """

    step: int
    kind: Kind
    loss: float | None
    losses: tuple[float, ...] = ()
    by_timestep: tuple[float, ...] = ()
    path: str | None = None
    style: float | None = None

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            What JSON writes.
        """
        return dataclasses.asdict(self)


@dataclass
class Candidates:
    """What is known about the candidates so far; part of every checkpoint.

    Attributes:
        base: The untuned base's losses, or None before they are measured.
        candidates: Judged weights in order.
        events: What went wrong or was changed on the way, plain objects with step, code and message.
        stopped: Why training ended before its last step; None otherwise.
        without_gain: Validations since the lowest loss.
    """

    base: Candidate | None = None
    candidates: list[Candidate] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None
    without_gain: int = 0

    @property
    def best(self) -> Candidate | None:
        """The candidate nearest in style where that was measured, otherwise of the lowest loss."""
        styled = [(-c.style, n) for n, c in enumerate(self.candidates) if c.style is not None]
        judged = [(c.loss, n) for n, c in enumerate(self.candidates) if c.loss is not None]
        ranked = styled or judged
        return self.candidates[min(ranked)[1]] if ranked else None

    def add(self, candidate: Candidate) -> bool:
        """Add a candidate.

        Args:
            candidate: The candidate.

        Returns:
            True where it is the best so far.
        """
        self.candidates.append(candidate)
        return self.best is candidate

    def tell(self, step: int, code: str, message: str) -> None:
        """Record that something happened.

        Args:
            step: Step at which it did.
            code: Short fixed name.
            message: What, and what was done about it.
        """
        self.events.append({"step": step, "code": code, "message": message})

    def plain(self) -> dict[str, Any]:
        """Write as plain data, for a checkpoint.

        Returns:
            What `read_candidates` reads back.
        """
        return dataclasses.asdict(self)

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
            return last, "the last step, because no picture is held out to choose by"
        return best, self._reason(best)

    def _reason(self, best: Candidate) -> str:
        base = self.base or Candidate(0, "step", None)
        count = f"{len(self.candidates)} candidates"
        if best.style is not None and base.style is not None:
            against = "above" if best.style > base.style else "NOT above"
            return f"nearest style of {count}: {best.style:.4f}, {against} the base's {base.style:.4f}"
        if best.loss is None or base.loss is None:
            return f"the best of {count}"
        against = "below" if best.loss < base.loss else "NOT below"
        return f"lowest held-out loss of {count}: {best.loss:.5f}, {against} the base's {base.loss:.5f}"

    def forget_missing(self, root: Path) -> None:
        """Take out the paths of weights that were not kept.

        Args:
            root: The run folder.
        """
        self.candidates = [
            c if c.path and (root / c.path).is_file() else dataclasses.replace(c, path=None)
            for c in self.candidates
        ]

    def write(self, path: Path, choose: Choice, pictures: tuple[str, ...]) -> None:
        """Write candidates.json.

        Args:
            path: The file.
            choose: The recipe's rule.
            pictures: Names of the held-out pictures, in the order of every ``losses``.
        """
        chosen, reason = self.chosen(choose)
        base = self.base or Candidate(0, "step", None)
        write_json(
            path,
            {
                "chosen": None if chosen is None else {**chosen.plain(), "reason": reason},
                "base_loss": base.loss,
                "base": base.plain(),
                "pictures": list(pictures),
                "candidates": [candidate.plain() for candidate in self.candidates],
                "stopped": self.stopped,
                "events": self.events,
            },
        )


def read_candidates(plain: dict[str, Any]) -> Candidates:
    """Read what `Ledger.plain` wrote.

    Args:
        plain: Plain data.

    Returns:
        The ledger.
    """
    base = None if plain["base"] is None else _candidate(plain["base"])
    return Candidates(**{**plain, "base": base, "candidates": [_candidate(c) for c in plain["candidates"]]})


def _candidate(plain: dict[str, Any]) -> Candidate:
    tuples = {key: tuple(plain[key]) for key in ("losses", "by_timestep")}
    return Candidate(**{**plain, **tuples})
