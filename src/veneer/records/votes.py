"""What people said of pictures whose names they did not see: ``votes.jsonl``, one vote a line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from veneer.records.files import Record, damaged
from veneer.records.jsonlines import append_lines, read_lines

Preference = Literal["base", "tuned", "neither"]


class Vote(Record):
    """One pair looked at."""

    prompt: str
    """What both pictures should show."""
    pictures: str
    """Hash of base and tuned picture: a vote counts while they are the same."""
    choice: Preference
    """Which was nearer to the style and the prompt."""


def read_votes(path: Path) -> tuple[Vote, ...]:
    """Read the votes in the order they were given; none where the file is missing.

    Raises:
        RunError: If a line is no vote.
    """
    try:
        return tuple(Vote.model_validate(line) for line in read_lines(path))
    except ValidationError as error:
        raise damaged(path, error, "Delete the line, or the file to vote anew") from error


def add_vote(path: Path, vote: Vote) -> None:
    """Add a vote; a kill loses at most this one."""
    append_lines(path, [vote.model_dump()])
