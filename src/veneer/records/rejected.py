"""``rejected/reasons.jsonl``: pictures left out of a data set, by which stage and why, one a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from veneer.errors import DatasetError
from veneer.records.dataset import Dataset
from veneer.records.files import Record, write_text
from veneer.records.jsonlines import append_lines, drop_torn_line, json_line, parse_object, read_lines


class Rejected(Record):
    """One picture that was left out."""

    file: str = ""
    """Its file within the data set; empty where none was kept."""
    origin: str = ""
    """The file, address or row that it is, or its name within the data set."""
    stage: str = ""
    """`collect` or `check`."""
    reason: str = ""
    """Why, in words."""
    facts: Mapping[str, Any] = {}
    """What else is known, each a key there: time, stamp, same_as; of `check` all that brings it back."""

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Self:
        """Understand a line of any origin."""
        own = {key: str(line[key]) for key in cls.model_fields if key in line and key != "facts"}
        return cls(**own, facts={key: value for key, value in line.items() if key not in own})

    @property
    def line(self) -> Mapping[str, Any]:
        """What stands in the file; what another tool's line does not have is not added to it."""
        return {**self.model_dump(exclude={"facts"}, exclude_unset=True), **self.facts}

    @property
    def name(self) -> str:
        """What the picture was called: its place in the data set, or its origin's last part."""
        return self.told("file_name") or Path(self.origin).name

    def told(self, fact: str) -> str:
        """One of its facts in words; empty where it is not known."""
        return str(self.facts.get(fact) or "")


def read_rejected(dataset: Dataset) -> Iterator[Rejected]:
    """Read what was left out of a data set, in the order in which it happened.

    Raises:
        DatasetError: If a line is damaged; a last one that a killed command left unfinished is passed over.
    """
    return map(Rejected.of_line, read_lines(dataset.reasons_jsonl))


def rejected_by_line(dataset: Dataset) -> Iterator[tuple[int, Rejected | None]]:
    """Read what can be read: a damaged line takes no other with it.

    Yields:
        The number of each line, from 1, and what it says; None for a damaged one.
    """
    path = dataset.reasons_jsonl
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    for number, line in enumerate((line for line in text.split("\n") if line.strip()), 1):
        try:
            one = Rejected.of_line(parse_object(line, f"{path}:{number}"))
        except DatasetError:
            one = Rejected()
        yield number, one if one.stage and one.reason else None


def add_rejected(dataset: Dataset, pictures: Iterable[Rejected]) -> None:
    """Enter further pictures."""
    append_lines(dataset.reasons_jsonl, (one.line for one in pictures))


def write_rejected(dataset: Dataset, pictures: Iterable[Rejected]) -> None:
    """Enter these pictures and no others."""
    write_text(dataset.reasons_jsonl, "".join(json_line(one.line) for one in pictures))


def mend_rejected(dataset: Dataset) -> None:
    """Cut off a last line that a killed command left unfinished."""
    drop_torn_line(dataset.reasons_jsonl)
