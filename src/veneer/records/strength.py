"""``samples/strength.json``: the strengths that were tried, and the one that was taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veneer.records.files import Record, write_json


class Tried(Record):
    """One strength, as it did on the prompts that choose."""

    scale: float
    """The strength."""
    style: float
    """Gain in nearness to the style."""
    prompt: float | None
    """Gain in faithfulness to the prompt; none where no text is read."""
    sureness: float
    """How sure the least sure claim of the verdict was: above 1, its 95 % interval excluded the contrary."""
    claims: Mapping[str, float] = {}
    """How sure each claim was, by its measure."""
    measures: Mapping[str, Mapping[str, Any]] = {}
    """The measures that they rest on, with their intervals."""


class Strength(Record):
    """The strength that was taken, and what it was taken from."""

    scale: float
    """The strength."""
    made_with: str
    """Fingerprint of adapter, prompts, seeds and settings."""
    tried: tuple[Tried, ...]
    """All of them, weakest first."""

    @property
    def summary(self) -> str:
        """One line of what was tried and taken."""
        others = ", ".join(f"{one.scale:g} ({one.sureness:.1f})" for one in self.tried)
        return f"strength {self.scale:g} is taken, where the least sure claim is the surest of {others}"

    @property
    def taken(self) -> Tried | None:
        """What is known of the strength that was taken."""
        return next((one for one in self.tried if one.scale == self.scale), None)

    def write(self, path: Path) -> None:
        """Write the file."""
        write_json(path, self.model_dump())


def known_strength(path: Path) -> Strength | None:
    """What was taken before; None where there is no such file, or one that cannot be read."""
    try:
        return Strength.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
