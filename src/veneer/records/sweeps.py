"""A sweep folder: many trials of one recipe, and which of them is best.

::

    SWEEP/sweep.json                    the recipe, what is varied, every trial, and which were confirmed
    SWEEP/trials/001/                   a trial is a run folder
    SWEEP/base/                         pictures of the base that trials are held against
    SWEEP/report/{index.html, table.json, grid.png}
    SWEEP/recipe.toml                   the best trial's recipe, to copy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from veneer.records.files import Record
from veneer.records.run import RunDir

TrialState = Literal["planned", "done", "failed", "stopped"]


class TrialRecord(Record):
    """One trial."""

    name: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
    """Its folder, such as "003"; a sweep folder may be a stranger's, so no other name is believed."""
    settings: Mapping[str, str]
    """What differs from the recipe: values as TOML by key."""
    state: TrialState = "planned"
    """Whether it was looked at, failed, or was stopped early."""
    why: str = ""
    """Why it failed or was stopped."""
    beside: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{0,64}$")] = ""
    """Folder of the base's pictures that it was looked at beside, in ``base/``."""
    losses: Mapping[str, float] = {}
    """Held-out loss by step, as far as a command saw it."""
    seconds: float = 0.0
    """Wall-clock seconds that it took, over all commands that ended."""


class SweepRecord(Record):
    """``sweep.json``."""

    recipe: Mapping[str, Any]
    """The recipe that is varied, all tables."""
    trials: tuple[TrialRecord, ...] = ()
    """Every trial, in the order in which they were begun."""
    confirmed: tuple[str, ...] = ()
    """Trials whose verdict was read, first look first: each was one look at the prompts that judge."""


@dataclass(frozen=True)
class SweepDir:
    """A sweep folder; building one touches no disk."""

    root: Path

    @property
    def sweep_json(self) -> Path:
        """What is swept."""
        return self.root / "sweep.json"

    @property
    def base(self) -> Path:
        """Pictures of the base, a folder for each setting that they depend on."""
        return self.root / "base"

    @property
    def report(self) -> Path:
        """The page and its parts."""
        return self.root / "report"

    @property
    def index_html(self) -> Path:
        """The report as one page."""
        return self.report / "index.html"

    @property
    def table_json(self) -> Path:
        """The table as data."""
        return self.report / "table.json"

    @property
    def grid_png(self) -> Path:
        """The base, the best and the runner-up on one sheet."""
        return self.report / "grid.png"

    @property
    def recipe_toml(self) -> Path:
        """The best trial's recipe."""
        return self.root / "recipe.toml"

    def trial(self, name: str) -> RunDir:
        """The run folder of a trial."""
        return RunDir(self.root / "trials" / name)

    def known(self) -> SweepRecord | None:
        """Read sweep.json; None where there is none yet.

        Raises:
            RunError: If the file is damaged.
        """
        if not self.sweep_json.is_file():
            return None
        return SweepRecord.read(self.sweep_json, "Use another --out, or put it back from a copy")
