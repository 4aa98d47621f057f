"""Captions that lie beside pictures in a folder: metadata.csv, metadata.jsonl, a text file per picture."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from veneer.errors import DatasetError
from veneer.events import Notice
from veneer.records.dataset import (
    CAPTIONS_FILE,
    CHECK_FILE,
    METADATA_FILES,
    PROVENANCE_FILE,
    Dataset,
    Item,
    mismatch_error,
)
from veneer.records.metadata import OTHERS_KEY
from veneer.records.spellings import assign
from veneer.text import counted, normal_form, read_text_any, some_of

CAPTION_SUFFIXES = (".txt", ".caption")
MOST_CAPTION_BYTES = 2**20
"""Largest text file that is read as one picture's caption, in bytes."""

_OURS = frozenset({CAPTIONS_FILE, PROVENANCE_FILE, CHECK_FILE})
_LOOKS_LIKE = re.compile(r"caption|prompt|tags|label|meta|annot|descri", re.IGNORECASE)
_TEXT_SUFFIXES = frozenset(
    {".txt", ".caption", ".captions", ".cap", ".tags", ".json", ".jsonl", ".csv", ".tsv"}
    | {".xml", ".yaml", ".yml", ".parquet"}
)


def is_caption_name(name: str) -> bool:
    """Whether a file is taken for captions, by its name.

    Args:
        name: File name, with or without folders.

    Returns:
        True for text files and metadata.
    """
    path = PurePosixPath(name)
    return path.suffix.lower() in CAPTION_SUFFIXES or path.name in METADATA_FILES


class FolderCaptions:
    """The captions that a folder holds for its pictures; what could not be used is remembered.

    An entry in a metadata file comes before a text file of the same picture, and that of a deeper folder
    before that of one above.

    Args:
        files: Its files, relative to it, with forward slashes.

    Raises:
        DatasetError: If a metadata file cannot be read, or names pictures that do not exist.
    """

    def __init__(self, root: Path, files: Sequence[str], pictures: Collection[str]) -> None:
        self._root = root
        self._files = files
        self._pictures = pictures
        self._used: set[str] = set()
        self._respelt: list[str] = []
        self._unread_columns: dict[str, list[str]] = {}
        self.texts = TextFiles(root, files)
        self.items = self._read()

    def _read(self) -> dict[str, Item]:
        captions = {name: Item(name, text) for name in self._pictures if (text := self.texts.beside(name))}
        folders = {str(above) for name in self._pictures for above in PurePosixPath(name).parents}
        there = set(self._files)
        for folder in sorted(folders):
            names = [str(PurePosixPath(folder) / name) for name in METADATA_FILES]
            if found := [name for name in names if name in there]:
                self._used.update(found)
                for name, item in self._metadata_captions(folder).items():
                    text = captions.get(name, Item(name)).caption
                    captions[name] = item if item.caption else replace(item, caption=text)
        return captions

    def _metadata_captions(self, folder: str) -> dict[str, Item]:
        place = self._root / folder
        prefix = "" if folder == "." else f"{folder}/"
        table = Dataset(place).read_table()
        here = [name.removeprefix(prefix) for name in self._pictures if name.startswith(prefix)]
        meant = assign([row.name for row in table.rows], here, place)
        missing = [row.name for row in table.rows if row.name not in meant]
        if missing:
            unnamed = sorted(set(here) - set(meant.values()))
            raise mismatch_error(place, place, missing, unnamed, here)
        self._respelt += [
            f"{name} for {picture}"
            for name, picture in meant.items()
            if normal_form(name) != normal_form(picture)
        ]
        if table.unread_columns:
            self._unread_columns[table.path.name] = table.unread_columns
        return {
            f"{prefix}{meant[row.name]}": Item(
                f"{prefix}{meant[row.name]}", row.caption, row.extra, row.others
            )
            for row in table.rows
        }

    def notices(self, stage: str, source: str) -> Iterator[Notice]:
        """Say what was understood loosely, and which captions were not read.

        Args:
            source: The folder as the user named it.

        Yields:
            One notice for each kind.
        """
        for code, message in self._messages(source):
            yield Notice(stage, code, message)

    def _messages(self, source: str) -> Iterator[tuple[str, str]]:
        bare = [name for name in self._pictures if name not in self.items or not self.items[name].caption]
        if strays := self._strays():
            yield (
                "stray-captions",
                f"{len(strays)} caption files in {source} belong to no picture: {some_of(strays)}",
            )
        if self.texts.faults:
            faults = [f"{name} ({reason})" for name, reason in self.texts.faults.items()]
            yield (
                "captions-unreadable",
                f"{len(faults)} caption files in {source} are not read: {some_of(faults)}",
            )
        if self._respelt:
            names = f"{counted(len(self._respelt), 'name')} in the metadata of {source}"
            yield "names-differ", f"{names} taken although spelled otherwise: {some_of(self._respelt, 3)}"
        for file, columns in self._unread_columns.items():
            found = f"columns found in {file} of {source}: {', '.join(map(str, columns))}"
            yield "no-caption-column", f"{found}; none is read as caption (name it caption)"
        several = [name for name, item in self.items.items() if item.others]
        if several:
            yield "several-captions", several_captions(several)
        if bare and (alike := self._look_alikes(strays)):
            yield (
                "captions-not-read",
                f"these in {source} look like captions and are not read: {some_of(alike)}",
            )

    def _strays(self) -> list[str]:
        """Text files whose picture is missing; none where no text file has a picture at all."""
        texts = [name for name in self._files if PurePosixPath(name).suffix.lower() in CAPTION_SUFFIXES]
        keys = {normal_form(key) for name in self._pictures for key in (name, _without_suffix(name))}
        strays = [name for name in texts if normal_form(_without_suffix(name)) not in keys]
        return sorted(strays) if len(strays) < len(texts) else []

    def _look_alikes(self, told: Collection[str]) -> list[str]:
        stems = {_stem(PurePosixPath(name).name) for name in self._pictures}
        names = {_key(PurePosixPath(name).name) for name in self._pictures}
        known = {*told, *self._used, *self.texts.used, *self.texts.faults}
        found = []
        for name in self._files:
            path = PurePosixPath(name)
            if name in known or path.name in _OURS or path.suffix.lower() not in _TEXT_SUFFIXES:
                continue
            stem = _stem(path.name)
            if stem in stems or stem in names or _LOOKS_LIKE.search(path.stem):
                found.append(name)
        return found


class TextFiles:
    """Text files beside pictures: "cat.txt", "cat.caption" or "cat.png.txt", in any case of their suffix.

    Args:
        files: Its files, relative to it, with forward slashes.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self._root = root
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        for suffix in CAPTION_SUFFIXES:
            for name in files:
                if PurePosixPath(name).suffix.lower() == suffix:
                    self._texts[normal_form(name[: -len(suffix)])].append(name)
        self.used: set[str] = set()
        self.faults: dict[str, str] = {}

    def beside(self, picture: str) -> str:
        """Read the text file of a picture.

        Args:
            picture: File name of the picture, relative to the folder.

        Returns:
            Its caption in one line; empty where there is none that can be read.
        """
        stem = _without_suffix(picture)
        for name in (*self._texts[normal_form(stem)], *self._texts[normal_form(picture)]):
            self.used.add(name)
            try:
                text = " ".join(read_text_any(self._root / name, MOST_CAPTION_BYTES).split())
            except DatasetError as error:
                self.faults[name] = error.what
                continue
            if text:
                return text
        return ""


def several_captions(names: Sequence[str]) -> str:
    """Say that pictures have several captions.

    Returns:
        A sentence.
    """
    verb = "has" if len(names) == 1 else "have"
    pictures = f"{counted(len(names), 'picture')} {verb} several captions"
    return f"{pictures}, of which training draws one each time: {some_of(names, 3)}"


def with_others(item: Item) -> Item:
    """Put further captions into a column of their own, for a file that holds one caption a picture.

    Returns:
        The same without further captions.
    """
    if not item.others:
        return item
    return replace(item, extra={**item.extra, OTHERS_KEY: list(item.others)}, others=())


def _without_suffix(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


def _stem(name: str) -> str:
    return _key(_without_suffix(name))


def _key(name: str) -> str:
    return normal_form(name).casefold()
