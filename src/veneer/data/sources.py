"""Where pictures come from: each source yields what it found, with the captions that come along."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veneer.choices import SEARCHES
from veneer.data.folders import Listing, list_folder
from veneer.data.sidecars import FolderCaptions, is_caption_name, with_others
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent
from veneer.records.dataset import PICTURE_SUFFIXES, Item
from veneer.records.names import MASK
from veneer.text import some_of

POCKET_PICTURES = Path(__file__).parents[1] / "pocket" / "demo"
"""The bundled demo pictures."""

OTHER_PICTURE_SUFFIXES = frozenset(
    {
        ".heic",
        ".heif",
        ".svg",
        ".ico",
        ".psd",
        ".jp2",
        ".jxl",
        ".tga",
        ".jfif",
        ".jpe",
        ".raw",
        ".dng",
    }
)
"""Suffixes of pictures too: each is tried, so that it is not passed over without a word."""

SOURCE_KINDS = "a folder, openverse:QUERY, commons:QUERY, bing:QUERY, urls:FILE, hf:NAME, or pocket"


@dataclass(frozen=True)
class Found:
    """A picture that a source has found, not looked at yet.

    Attributes:
        origin: What names it for ever: its absolute path, its address, or its place in a data set.
        path: The file; None where it has to be fetched from ``origin``.
        caption: The caption that came along; empty where none did.
        facts: What is known about it: "source", "name", "page", "query", "title", "licence", "extra".
        temporary: Whether the file is a copy of ours, removed after use.
        fault: Why it cannot be taken, where the source knows that already.
    """

    origin: str
    path: Path | None = None
    caption: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    temporary: bool = False
    fault: str = ""

    @property
    def stamp(self) -> str:
        """What changes when a user's own file is written anew; empty for what was fetched."""
        if self.path is None or self.temporary:
            return ""
        try:
            facts = self.path.stat()
        except OSError:  # deleted meanwhile
            return ""
        return f"{facts.st_size}-{facts.st_mtime_ns}"


def refuse_unknown(sources: Sequence[str]) -> None:
    """Refuse sources that do not exist, before anything is written.

    Raises:
        DatasetError: For the first that is missing.
    """
    for source in sources:
        if not source.removeprefix("urls:").strip():
            raise DatasetError(
                "a source without a name", where=source or "''", todo=f"A source is {SOURCE_KINDS}"
            )
        path = Path(source.partition(":")[2] if source.startswith("urls:") else source).expanduser()
        if source == "pocket":
            if not POCKET_PICTURES.is_dir():
                raise DatasetError("this installation lacks the bundled pictures", where=source)
        elif source.startswith("urls:") and path.is_dir():
            raise DatasetError(
                "a folder, not a list of addresses", where=source, todo=f"A source is {SOURCE_KINDS}"
            )
        elif not source.startswith((*SEARCHES, "hf:")) and not path.exists():
            kind = "file" if source.startswith("urls:") else "folder"
            raise DatasetError(f"no such {kind}", where=source, todo=f"A source is {SOURCE_KINDS}")


def folder_pictures(
    source: str, folder: Path, leave_out: Path, on_event: OnEvent, *, follow_links: bool = False
) -> Iterator[Found]:
    """Find the pictures of a folder and its sub-folders, in the order of their names.

    Args:
        source: The source as the user named it.
        leave_out: A folder inside that is not read: the data set that is written.
        follow_links: Whether links are followed that lead out of the folder.

    Yields:
        The pictures; hidden files and files of other kinds are passed over.

    Raises:
        DatasetError: If metadata does not fit the pictures.
    """
    if folder.is_file():
        yield Found(str(folder.resolve()), folder, facts={"source": source, "name": folder.name})
        return
    kinds = (is_picture_name, is_caption_name)
    listing = list_folder(folder, kinds, leave_out=leave_out, follow_links=follow_links)
    pictures = [name for name in listing.files if is_picture_name(name)]
    captions = FolderCaptions(folder, listing.files, pictures)
    _notify(source, listing, pictures, captions, on_event)
    for name in pictures:
        item = with_others(captions.items.get(name, Item(name)))
        facts = {"source": source, "name": name, "extra": dict(item.extra)}
        yield Found(str((folder / name).resolve()), folder / name, item.caption, facts)


def _notify(
    source: str, listing: Listing, pictures: Sequence[str], captions: FolderCaptions, on_event: OnEvent
) -> None:
    for notice in (*listing.notices("collect", source), *captions.notices("collect", source)):
        on_event(notice)
    bare = [name for name in pictures if name not in captions.items or not captions.items[name].caption]
    if bare and len(bare) < len(pictures):
        message = (
            f"{len(bare)} of {len(pictures)} pictures in {source} came without a caption: {some_of(bare)}"
        )
        on_event(Notice("collect", "captions-missing", message))


def pocket_pictures(on_event: OnEvent) -> Iterator[Found]:
    """Find the bundled demo pictures.

    Yields:
        The pictures, under names that do not depend on where Veneer is installed.
    """
    for found in folder_pictures("pocket", POCKET_PICTURES, POCKET_PICTURES / "none", on_event):
        yield Found(f"pocket:{found.facts['name']}", found.path, found.caption, found.facts)


def is_picture_name(name: str) -> bool:
    """Whether a file is taken for a picture, by its name.

    Args:
        name: File name, with or without folders.

    Returns:
        True for pictures of any kind, also those that cannot be read; masks of pictures are none.
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - 100,000 names: Path is ten times slower
    known = suffix in PICTURE_SUFFIXES or suffix in OTHER_PICTURE_SUFFIXES
    return known and not name.endswith(MASK)
