"""``report/metrics.json``: the verdict with its reasons, and every measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, ValidationError, model_validator

from veneer.errors import RunError
from veneer.records.files import Record, write_json
from veneer.records.run import RunDir

OLD_WORDS = {"no different": "not shown"}
"""Verdicts of older versions, by the word of now."""


class Metrics(Record):
    """What a comparison found, in the words of now whichever version wrote it. Further keys are kept."""

    model_config = ConfigDict(extra="allow")

    verdict: str
    """`better`, `worse`, `trade` or `not shown`."""
    headline: str = ""
    """The answer in one plain sentence."""
    todo: str = ""
    """The next thing to try; empty where there is none."""
    reasons: tuple[str, ...]
    """Why, those that decide first."""
    chosen_step: int | None = None
    """Step of the weights that were compared; None where no run made them."""
    measures: Mapping[str, Mapping[str, Any] | None] = {}
    """Measures by name; None where there is a reason in `unavailable`."""
    prompts: tuple[str, ...] = ()
    """Prompts of the pictures."""
    seeds: tuple[int, ...] = ()
    """Seeds of the recipe."""
    unavailable: Mapping[str, str] = {}
    """Why a measure is missing, by its name."""
    reasons_named: tuple[Mapping[str, Any], ...] = ()
    """The reasons with their codes."""
    embedders: tuple[str, ...] = ()
    """Models that the pictures were seen through."""
    facts: Mapping[str, Any] = {}
    """What else the rules read."""
    copies: Mapping[str, Any] | None = None
    """How near pictures come to those trained on; None where none were known."""
    targets: tuple[Mapping[str, Any], ...] = ()
    """The true picture of every held-out caption beside what was drawn."""
    at_native: Metrics | None = None
    """The same of pictures at the base's own size; None where the run trained at that."""
    scale: float | None = None
    """Strength of the LoRA that was compared; None where an older version did not say it."""

    @model_validator(mode="before")
    @classmethod
    def _as_now(cls, plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            return plain
        word = plain.get("verdict")
        return {**plain, "verdict": OLD_WORDS.get(word, word)} if isinstance(word, str) else plain

    def write(self, path: Path) -> None:
        """Write it; what an older file does not say stays unsaid."""
        write_json(path, self.model_dump(exclude_unset=True))

    @classmethod
    def of(cls, run: RunDir) -> Self:
        """Read what a run's comparison found.

        Raises:
            RunError: If it is missing or damaged.
        """
        path = run.metrics_json
        if not path.is_file():
            raise RunError("nothing was compared yet", where=str(path), todo="Run `veneer compare RUN` first")
        return cls.read(path, "Run `veneer compare RUN` again")


def known_metrics(run: RunDir) -> Metrics | None:
    """What a run's comparison found; None before it, or where it cannot be read."""
    try:
        return Metrics.model_validate_json(run.metrics_json.read_bytes())
    except (OSError, ValidationError):
        return None


def read_verdict(run: RunDir) -> tuple[str, tuple[str, ...]]:
    """Read verdict and reasons of a run; an empty verdict before `compare`."""
    if not run.metrics_json.is_file():
        return "", ()
    metrics = Metrics.of(run)
    return metrics.verdict, metrics.reasons
