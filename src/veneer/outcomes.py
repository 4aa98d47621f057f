"""How stages and runs ended: what commands print, the API returns and ``run.json`` keeps."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from veneer.errors import EXIT_DONE, EXIT_WORSE
from veneer.machine import Usage
from veneer.records.html import rows_html
from veneer.records.notices import Notices
from veneer.records.run import Identity, RunDir, StageRecord, opened


@dataclass(frozen=True)
class StageOutcome:
    """One stage of a run.

    Attributes:
        seconds: Wall-clock seconds it took, when it was done.
        peak_memory_gib: Highest resident memory during the stage, in GiB.
        skipped: True where an earlier command had done it.
        peak_device_memory_gib: Highest memory of tensors on the accelerator, in GiB; 0 on the CPU.
    """

    name: str
    summary: str
    seconds: float
    peak_memory_gib: float
    skipped: bool
    peak_device_memory_gib: float = 0.0

    @classmethod
    def of_now(cls, name: str, summary: str, used: Usage) -> Self:
        """A stage that this command did."""
        peaks = used.peak_memory_gib, used.peak_device_memory_gib
        own, on_device = (round(peak, 3) for peak in peaks)
        return cls(name, summary, round(used.seconds, 3), own, False, on_device)

    @classmethod
    def of_before(cls, name: str, record: StageRecord) -> Self:
        """A stage that an earlier command did."""
        on_device = record.peak_device_memory_gib
        return cls(name, record.summary, record.seconds, record.peak_memory_gib, True, on_device)

    def recorded(self, identity: Identity, notices: Notices) -> StageRecord:
        """What ``run.json`` keeps of it, finished now."""
        return StageRecord(
            identity=identity,
            summary=self.summary,
            seconds=self.seconds,
            peak_memory_gib=self.peak_memory_gib,
            peak_device_memory_gib=self.peak_device_memory_gib,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            notices=notices.counted(),
        )


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        stages: Its stages in order.
        verdict: "better", "worse", "trade", "not shown", or empty before `compare`.
        reasons: Why, in plain words.
    """

    root: Path
    stages: tuple[StageOutcome, ...]
    verdict: str
    reasons: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return RunDir(self.root).index_html

    @property
    def grid(self) -> Path:
        """The grid of base and tuned pictures."""
        return RunDir(self.root).grid_png

    def pipeline(self, scale: float | None = None) -> Any:
        """The base as diffusers' own pipeline, with the run's LoRA and learnt word in it.

        Args:
            scale: Strength of the LoRA, >= 0; None for the one that the run was compared at.

        Raises:
            RunError: If the run has no LoRA yet.
            VeneerError: If base or LoRA cannot be loaded.
        """
        from veneer.lora.plain import plain_pipeline  # with torch, whose import takes seconds
        from veneer.proof.strengths import strength_of

        folder, recipe = opened(self.root)
        return plain_pipeline(folder, recipe, strength_of(folder, recipe) if scale is None else scale)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, why, each stage, and the grid."""
        why = rows_html(self.verdict or "no verdict yet", {"why": "; ".join(self.reasons)})
        return why + RunDir(self.root)._repr_html_()

    @property
    def exit_status(self) -> int:
        """Exit status of the command: 4 where the tuned model is worse than its base."""
        return EXIT_WORSE if self.verdict == "worse" else EXIT_DONE
