"""The pictures that base and tuned model drew from one prompt set, and what each of them shows.

::

    SAMPLES/{base,tuned}/P-SEED.png   P is the place of the prompt in the set, such as 003-0.png
    SAMPLES/prompts.json              the prompt set
    SAMPLES/settings.json             what else base and tuned were drawn with
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from veneer.errors import RunError
from veneer.records.files import Record, damaged, write_json

Kind = Literal["recipe", "held_out", "general"]
Side = Literal["base", "tuned"]


class Prompt(Record):
    """A prompt of the set."""

    index: int
    """Its place in the set, from 0."""
    prompt: str
    """The text."""
    kind: Kind
    """From the recipe, a held-out caption, or one that has nothing to do with the style."""


_PROMPTS = TypeAdapter(list[Prompt])


@dataclass(frozen=True)
class Samples:
    """A folder of pictures by base and tuned model."""

    root: Path

    def of(self, side: Side) -> Path:
        """Folder of the pictures of one model."""
        return self.root / side

    @property
    def prompts_json(self) -> Path:
        """The prompt set."""
        return prompts_in(self.root)

    @property
    def settings_json(self) -> Path:
        """What the pictures were drawn with."""
        return self.root / "settings.json"


def prompts_in(folder: Path) -> Path:
    """Where the prompt set of a folder of pictures lies."""
    return folder / "prompts.json"


def write_prompts(path: Path, prompts: Sequence[Prompt]) -> None:
    """Write the prompt set beside the pictures."""
    write_json(path, _PROMPTS.dump_python(list(prompts)))


def read_prompts(path: Path) -> list[Prompt]:
    """Read the prompt set of a folder of pictures.

    Args:
        path: Its ``prompts.json``.

    Raises:
        RunError: If the file is missing or damaged.
    """
    todo = "Draw the pictures first: `veneer generate`"
    if not path.is_file():
        raise RunError("no prompt set", where=str(path), todo=todo)
    try:
        return _PROMPTS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise damaged(path, error, "Draw the pictures again: `veneer generate`") from error
