"""``provenance.jsonl``: where each picture of a data set came from and what was done to it, one a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from veneer.records.dataset import Dataset
from veneer.records.files import Record
from veneer.records.jsonlines import append_lines, read_lines

SizePx = tuple[int, int]
"""Width and height, in pixels."""


class PictureOrigin(Record):
    """One picture: found, and brought into its standard form."""

    file_name: str = ""
    """Its name within the data set."""
    origin: str = ""
    """The file, address or row that it is: the same one is not taken twice."""
    facts: Mapping[str, Any] = {}
    """What else is known, each a key there: caption, source, name, page, query, title, licence, extra."""
    time: str = ""
    """When it was taken, with its time zone."""
    sha256: str = ""
    """Of its pixels in standard form."""
    phash: str = ""
    """What it looks like: 16 hexadecimal digits."""
    format: str = ""
    """Format of the file that it came in."""
    original_size: SizePx | None = None
    """Size that it came in; None where that is not known."""
    size: SizePx | None = None
    """Size in standard form; None where that is not known."""
    changes: tuple[str, ...] = ()
    """What was done to it."""

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Self:
        """Understand a line of any origin; what is not as ours are counts as not known."""
        own = {key: line[key] for key in cls.model_fields if key in line and key != "facts"}
        sizes = {key: _pair(own.pop(key, None)) for key in ("original_size", "size")}
        changes = own.pop("changes", ())
        return cls(
            **{key: str(value) for key, value in own.items()},
            **sizes,
            changes=tuple(map(str, changes)) if isinstance(changes, list) else (),
            facts={key: value for key, value in line.items() if key not in cls.model_fields},
        )

    @property
    def line(self) -> Mapping[str, Any]:
        """What stands in the file."""
        named = self.model_dump(exclude={"file_name", "origin", "facts"})
        return {"file_name": self.file_name, "origin": self.origin, **self.facts, **named}

    def told(self, fact: str) -> str:
        """One of its facts in words; empty where it is not known."""
        return str(self.facts.get(fact) or "")


def read_provenance(dataset: Dataset) -> Iterator[PictureOrigin]:
    """Read where the pictures of a data set came from, in the order in which they were taken.

    Raises:
        DatasetError: If a line is damaged; a last one that a killed command left unfinished is passed over.
    """
    return map(PictureOrigin.of_line, read_lines(dataset.provenance_jsonl))


def add_provenance(dataset: Dataset, origin: PictureOrigin) -> None:
    """Enter one more picture."""
    append_lines(dataset.provenance_jsonl, [origin.line])


def _pair(value: Any) -> SizePx | None:
    match value:
        case [int(width), int(height)]:
            return width, height
    return None
