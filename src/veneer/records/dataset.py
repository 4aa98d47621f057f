"""The data-set folder: a Hugging Face image folder with a caption for every picture.

::

    DATASET/images/000001.png ...     pictures, RGB, upright
    DATASET/metadata.csv              file_name,caption and any further columns (kept)
    DATASET/provenance.jsonl          one object for each picture: source, sha256, size, what was done
    DATASET/rejected/                 pictures left out, and reasons.jsonl

``file_name`` is relative to the data set and written with forward slashes ("images/000001.png"), so
``datasets.load_dataset("imagefolder", data_dir=DATASET)`` reads it as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from veneer.arguments import PathLike, given_path
from veneer.errors import DatasetError
from veneer.records.files import write_bytes, write_text
from veneer.records.html import pictures_html, rows_html
from veneer.records.jsonlines import json_line
from veneer.records.locks import locked
from veneer.records.metadata import OTHERS_KEY, MetadataRow, MetadataTable, captions_in, read_table
from veneer.records.metadata_text import metadata_text
from veneer.records.names import MASK, FreeNames
from veneer.records.spellings import alike, assign
from veneer.text import counted, some_of

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"})
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
PROVENANCE_FILE, CHECK_FILE = "provenance.jsonl", "check.json"
CAPTIONS_FILE, REASONS_FILE = "captions.jsonl", "reasons.jsonl"
MIN_PICTURES = 4
"""Fewest pictures that a data set can be trained and tested on."""

SHOWN_PICTURES = 12
"""Pictures that a notebook shows of a data set."""

WRITE_SECONDS = 10.0
"""Longest that a change of the metadata waits for another one, which takes milliseconds."""


@dataclass(frozen=True)
class Item:
    """A picture of a data set.

    Attributes:
        file_name: Path within the data set, with forward slashes.
        caption: Its caption; empty where it has none yet.
        extra: Further columns of the metadata, kept as they are.
        others: Further captions, where the metadata holds several.
    """

    file_name: str
    caption: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def captions(self) -> tuple[str, ...]:
        """Its caption and all further ones, each once, whether they have a column of their own or not."""
        kept = captions_in(self.extra.get(OTHERS_KEY)) or ()
        return tuple(dict.fromkeys((self.caption, *self.others, *kept)))


@dataclass(frozen=True, init=False)
class Dataset:
    """A data-set folder."""

    root: Path

    def __init__(self, root: PathLike) -> None:
        object.__setattr__(self, "root", given_path(root, "root"))

    @property
    def images(self) -> Path:
        """Folder of the pictures."""
        return self.root / "images"

    @property
    def metadata_csv(self) -> Path:
        """Captions."""
        return self.root / METADATA_FILES[0]

    @property
    def metadata_jsonl(self) -> Path:
        """Captions in the other form that Hugging Face reads; never beside metadata.csv."""
        return self.root / METADATA_FILES[1]

    @property
    def metadata_file(self) -> Path:
        """The file that holds the captions: metadata.csv, or metadata.jsonl where there is only that."""
        only_jsonl = self.metadata_jsonl.is_file() and not self.metadata_csv.is_file()
        return self.metadata_jsonl if only_jsonl else self.metadata_csv

    @property
    def provenance_jsonl(self) -> Path:
        """Where each picture came from."""
        return self.root / PROVENANCE_FILE

    @property
    def rejected(self) -> Path:
        """Pictures left out."""
        return self.root / "rejected"

    @property
    def check_json(self) -> Path:
        """Findings of `veneer check`."""
        return self.root / CHECK_FILE

    @property
    def check_html(self) -> Path:
        """Contact sheet of what `veneer check` found."""
        return self.root / "check.html"

    @property
    def captions_jsonl(self) -> Path:
        """Who wrote each caption."""
        return self.root / CAPTIONS_FILE

    @property
    def reasons_jsonl(self) -> Path:
        """Why each picture was left out."""
        return self.rejected / REASONS_FILE

    @property
    def pick_json(self) -> Path:
        """A diverse choice of the pictures."""
        return self.root / "pick.json"

    @property
    def measures_jsonl(self) -> Path:
        """What was measured of each picture, kept for the next check."""
        return self.root / ".measures.jsonl"

    def picture_names(self) -> list[str]:
        """Every picture on disk.

        Returns:
            File names relative to the data set, sorted; `rejected/`, hidden files and names that are no UTF-8
            are left out.

        Raises:
            DatasetError: If the folder does not exist.
        """
        if not self.root.is_dir():
            raise DatasetError(
                "no such data set", where=str(self.root), todo="Make one with `veneer collect`"
            )
        return sorted(name for name in _pictures_below(self.root) if _is_utf_8(name))

    def odd_names(self) -> list[str]:
        """Pictures that are passed over, as no metadata can hold their names.

        Returns:
            Their names with odd bytes written out, sorted.
        """
        odd = (name for name in _pictures_below(self.root) if not _is_utf_8(name))
        return sorted(name.encode("utf-8", "backslashreplace").decode("utf-8") for name in odd)

    def items(self, *, ignore_missing: bool = False) -> list[Item]:
        """Read every picture with its caption; pictures without an entry get an empty one.

        Args:
            ignore_missing: Whether lines that name no picture are passed over.

        Returns:
            Items in the order of the file names.

        Raises:
            DatasetError: If the metadata names pictures that do not exist, or cannot be read.
        """
        names = self.picture_names()
        lines = self.read_metadata()
        meant = assign([item.file_name for item in lines], names, self.root)
        missing = [item.file_name for item in lines if item.file_name not in meant]
        known = {
            meant[item.file_name]: replace(item, file_name=meant[item.file_name])
            for item in lines
            if item.file_name in meant
        }
        if missing and not ignore_missing:
            raise mismatch_error(
                self.root, self.metadata_file, sorted(missing), sorted(set(names) - set(known)), names
            )
        return [known.get(name, Item(name)) for name in names]

    def captioned_items(self) -> list[Item]:
        """Read every picture with its caption, and insist that each has one.

        Returns:
            Items in the order of the file names.

        Raises:
            DatasetError: If pictures are missing, without an entry, or with an empty caption.
        """
        items = self.items()
        empty = [item.file_name for item in items if not item.caption.strip()]
        if empty:
            raise DatasetError(
                f"{len(empty)} of {len(items)} pictures have no caption: {some_of(empty)}",
                where=str(self.metadata_file),
                todo=f"Write them, or run `veneer caption {self.root}`",
            )
        return items

    def read_metadata(self) -> list[Item]:
        """Read the captions, whatever their encoding; columns may be separated by commas, semicolons or tabs.

        Returns:
            One item for each line; empty where there is no metadata.

        Raises:
            DatasetError: If a line cannot be read, lacks `file_name` or names a picture twice, or if both
                metadata.csv and metadata.jsonl are there.
        """
        return [Item(row.name, row.caption, row.extra, row.others) for row in self.read_table().rows]

    def read_table(self) -> MetadataTable:
        """Read the metadata as it was written; see `read_metadata`.

        Returns:
            The file; without rows where there is none.

        Raises:
            DatasetError: As for `read_metadata`.
        """
        if self.metadata_csv.is_file() and self.metadata_jsonl.is_file():
            raise DatasetError(
                "metadata.csv and metadata.jsonl are both there",
                where=str(self.root),
                todo="Keep one of them (Hugging Face datasets refuses two as well)",
            )
        return read_table(self.metadata_file)

    def write_metadata(self, items: Sequence[Item]) -> None:
        """Write `metadata_file`: exactly these items; what is not ours in their lines stays as it is.

        Args:
            items: The items, written in this order.
        """
        with self.writing():
            table = self.read_table()
            known = {(row.name, json_line(row.extra)): row for row in table.rows}
            rows = [
                (known.get((i.file_name, json_line(i.extra))) or new_row(i))._replace(caption=i.caption)
                for i in items
            ]
            write_text(table.path, metadata_text(table, rows))

    def write_captions(
        self, captions: Mapping[str, str], before: Mapping[str, str] | None = None
    ) -> frozenset[str]:
        """Change captions in the metadata as it is now; pictures without a line get one.

        Args:
            captions: New captions by file name.
            before: What they were when the caller read them: a caption that is another by now was changed
                by somebody meanwhile, and stays. None to write all.

        Returns:
            Pictures whose caption stays, as somebody changed it.
        """
        with self.writing():
            table = self.read_table()
            names = [row.name for row in table.rows]
            pictures = self.picture_names()
            meant = assign(names, {*pictures, *captions}, self.root)
            rows, kept = [], set()
            for row in table.rows:
                name = meant.get(row.name, "")
                if name not in captions:
                    rows.append(row)
                elif before is not None and row.caption != before.get(name, ""):
                    kept.add(name)
                    rows.append(row)
                else:
                    rows.append(row._replace(caption=captions[name]))
            new = set(pictures).difference(meant.values())  # what is gone by now gets no line
            added = [MetadataRow(name, caption) for name, caption in captions.items() if name in new]
            if rows != list(table.rows) or added or not table.path.is_file():
                write_text(table.path, metadata_text(table, _in_order(rows, added)))
        return frozenset(kept)

    def add_rows(self, added: Sequence[MetadataRow]) -> None:
        """Add lines to the metadata; those that are there stay as they are.

        Args:
            added: Entries of pictures without a line.
        """
        with self.writing():
            table = self.read_table()
            write_text(table.path, metadata_text(table, _in_order(table.rows, added)))

    def remove_items(self, names: Collection[str], *, copy: bool = False) -> None:
        """Take lines out of the metadata.

        Args:
            names: File names as the metadata spells them.
            copy: Whether the file as it was is kept beside it.
        """
        with self.writing():
            table = self.read_table()
            rows = [row for row in table.rows if row.name not in names]
            if len(rows) < len(table.rows):
                if copy:
                    kept = FreeNames(self.root).give(f"{table.path.name}.before")
                    write_bytes(kept, table.path.read_bytes())
                write_text(table.path, metadata_text(table, rows))

    def writing(self) -> AbstractContextManager[None]:
        """Keep every other command from changing the metadata meanwhile; for milliseconds only."""
        return locked(self.root, "data set", name=".metadata.lock", seconds=WRITE_SECONDS)

    def _repr_html_(self) -> str:
        """What a notebook shows: how many pictures and captions, and the first of them."""
        items = self.items(ignore_missing=True)
        with_caption = sum(bool(item.caption.strip()) for item in items)
        shown = [
            (self.root / item.file_name, item.caption or item.file_name) for item in items[:SHOWN_PICTURES]
        ]
        rows = {"pictures": len(items), "with a caption": with_caption}
        return rows_html(f"data set {self.root}", rows) + pictures_html(shown)


AnyDataset = Dataset | PathLike


def dataset_of(given: AnyDataset) -> Dataset:
    """A data set from what a Python function was handed: one, or its folder."""
    return given if isinstance(given, Dataset) else Dataset(given_path(given, "dataset"))


def new_row(item: Item) -> MetadataRow:
    """An entry for an item that has no line in the metadata yet."""
    return MetadataRow(item.file_name, item.caption, item.others, item.extra)


def _in_order(rows: Sequence[MetadataRow], added: Sequence[MetadataRow]) -> list[MetadataRow]:
    """Both; sorted by name where they were so before."""
    names = [row.name for row in rows]
    both = [*rows, *added]
    return sorted(both, key=lambda row: row.name) if names == sorted(names) else both


def _is_utf_8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _pictures_below(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if parts[0] == "rejected" or hidden or path.name.endswith(MASK):
            continue
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            yield path.relative_to(root).as_posix()


def mismatch_error(
    folder: Path, where: Path, missing: Sequence[str], unnamed: Sequence[str], pictures: Sequence[str] = ()
) -> DatasetError:
    """The error for metadata that does not fit the pictures, with the first ten of each kind.

    Args:
        where: What the error is about: the metadata's file or its folder.
        missing: Names in the metadata without a picture.
        unnamed: Pictures that the metadata does not name.
        pictures: All pictures, for what a wrong name may mean.

    Returns:
        The error, with the command that repairs.
    """
    also = f"; {counted(len(unnamed), 'picture')} not named: {some_of(unnamed)}" if unnamed else ""
    verb = "does" if len(missing) == 1 else "do"
    what = (
        f"metadata names {counted(len(missing), 'picture')} that {verb} not exist: {some_of(missing)}{also}"
    )
    near = alike(missing, pictures, folder)
    if near:
        pairs = some_of([f"{name} for {' or '.join(found)}" for name, found in near.items()], 3)
        return DatasetError(
            f"{what}; of {len(near)} only the case differs: {pairs}",
            where=str(where),
            todo="Write each name as its file has it",
        )
    return DatasetError(
        what,
        where=str(where),
        todo=f"Put them back, or take their lines out with `veneer caption {folder} --prune`",
    )
