"""``check.json``: what `veneer check` found in a data set."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from veneer.records.dataset import Dataset
from veneer.records.files import Record


class FoundFault(Record):
    """One thing wrong with one picture."""

    file_name: str
    """The picture."""
    flag: str
    """What it is, such as "blurred"."""
    reason: str
    """The same with numbers, for people."""
    other: str = ""
    """The picture that it is a copy of; empty for other flags."""


class CheckFile(Record):
    """What the last check of a data set found."""

    pictures: int = 0
    """Pictures that were looked at."""
    resolution: int = 0
    """Training resolution that it was checked for, in pixels; 0 where it is not known."""
    counts: Mapping[str, int] = {}
    """Pictures by flag."""
    moved: int = 0
    """Pictures that were moved to ``rejected/``."""
    notes: tuple[str, ...] = ()
    """What was not looked at, and why."""
    findings: tuple[FoundFault, ...] = ()
    """All findings, the weightiest first."""

    @property
    def by_picture(self) -> Mapping[str, list[FoundFault]]:
        """Findings by picture."""
        found: dict[str, list[FoundFault]] = {}
        for one in self.findings:
            found.setdefault(one.file_name, []).append(one)
        return found


def known_check(dataset: Dataset) -> CheckFile | None:
    """What the last check found; None where there was none, or its file cannot be read."""
    try:
        return CheckFile.model_validate_json(dataset.check_json.read_bytes())
    except (OSError, ValidationError):
        return None
