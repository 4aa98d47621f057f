"""Who made the pictures of a data set, and under which licence: what attribution asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from veneer.records.dataset import Dataset
from veneer.records.jsonlines import read_lines


@dataclass(frozen=True)
class PictureCredit:
    """One picture.

    Attributes:
        title: What it is called; its file name where it has no title.
        author: Who made it; empty where unknown.
        licence: Such as "CC BY-SA 4.0".
        page: Where it is shown; empty where unknown.
    """

    title: str
    author: str
    licence: str
    page: str

    @property
    def markdown(self) -> str:
        """One line; strangers' words are no markup in it."""
        title = _as_text(self.title)
        is_address = re.fullmatch(r"https?://[^\s()<>\[\]]+", self.page)
        linked = f"[{title}]({self.page})" if is_address else title
        by = f" by {_as_text(self.author)}" if self.author else ""
        return f"{linked}{by}, {_as_text(self.licence)}"


def read_credits(dataset: Dataset) -> list[PictureCredit]:
    """Credits of the pictures that are in the data set, where their source told a licence."""
    there = set(dataset.picture_names()) if dataset.root.is_dir() else set()
    found: dict[PictureCredit, None] = {}
    for entry in read_lines(dataset.provenance_jsonl):
        if str(entry.get("file_name")) not in there or not entry.get("attribution"):
            continue
        told = {key: str(entry.get(key) or "") for key in ("title", "author", "licence", "page")}
        found[PictureCredit(**{**told, "title": told["title"] or str(entry["file_name"])})] = None
    return list(found)


def _as_text(words: str) -> str:
    return re.sub(r"([\\`*_{}\[\]()<>#|!&~])", r"\\\1", " ".join(words.split()))
