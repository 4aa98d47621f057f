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

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veneer.errors import DatasetError
from veneer.records.files import write_text
from veneer.text import counted, csv_rows, normal_form, read_text_any, some_of

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"})
CAPTION_KEYS = ("caption", "text")


@dataclass(frozen=True)
class Item:
    """A picture of a data set.

    Attributes:
        file_name: Path within the data set, with forward slashes.
        caption: Its caption; empty where it has none yet.
        extra: Further columns of the metadata, kept as they are.
    """

    file_name: str
    caption: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A data-set folder.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def images(self) -> Path:
        """Folder of the pictures."""
        return self.root / "images"

    @property
    def metadata_csv(self) -> Path:
        """Captions."""
        return self.root / "metadata.csv"

    @property
    def metadata_jsonl(self) -> Path:
        """Captions in the other form that Hugging Face reads; never beside metadata.csv."""
        return self.root / "metadata.jsonl"

    @property
    def metadata_file(self) -> Path:
        """The file that holds the captions: metadata.csv, or metadata.jsonl where there is only that."""
        only_jsonl = self.metadata_jsonl.is_file() and not self.metadata_csv.is_file()
        return self.metadata_jsonl if only_jsonl else self.metadata_csv

    @property
    def provenance_jsonl(self) -> Path:
        """Where each picture came from."""
        return self.root / "provenance.jsonl"

    @property
    def rejected(self) -> Path:
        """Pictures left out."""
        return self.root / "rejected"

    @property
    def check_json(self) -> Path:
        """Findings of `veneer check`."""
        return self.root / "check.json"

    def picture_names(self) -> list[str]:
        """Every picture on disk.

        Returns:
            File names relative to the data set, sorted; `rejected/` and hidden files are left out.

        Raises:
            DatasetError: If the folder does not exist.
        """
        if not self.root.is_dir():
            raise DatasetError(
                "no such data set", where=str(self.root), todo="Make one with `veneer collect`"
            )
        return sorted(_pictures_below(self.root))

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
        spelled = {normal_form(name): name for name in names}
        known, missing = {}, []
        for item in self.read_metadata():
            name = spelled.get(normal_form(item.file_name))
            if name is None:
                missing.append(item.file_name)
            else:
                known[name] = item if name == item.file_name else Item(name, item.caption, item.extra)
        if missing and not ignore_missing:
            raise self._mismatch(sorted(missing), sorted(set(names) - set(known)))
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
        if self.metadata_csv.is_file() and self.metadata_jsonl.is_file():
            raise DatasetError(
                "metadata.csv and metadata.jsonl are both there",
                where=str(self.root),
                todo="Keep one of them (Hugging Face datasets refuses two as well)",
            )
        path = self.metadata_file
        if not path.is_file():
            return []
        return _read_rows(path, _csv_rows(path) if path == self.metadata_csv else _jsonl_rows(path))

    def write_metadata(self, items: Sequence[Item]) -> None:
        """Write `metadata_file` whole: `file_name`, `caption` and the extra columns.

        Args:
            items: The items, written in this order.
        """
        if self.metadata_file == self.metadata_jsonl:
            rows = ({"file_name": i.file_name, "caption": i.caption, **i.extra} for i in items)
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_text(self.metadata_jsonl, "".join(lines))
            return
        columns = ["file_name", "caption"]
        for item in items:
            columns += [key for key in item.extra if key not in columns]
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        for item in items:
            writer.writerow({"file_name": item.file_name, "caption": item.caption, **item.extra})
        write_text(self.metadata_csv, out.getvalue())

    def _mismatch(self, missing: Sequence[str], unnamed: Sequence[str]) -> DatasetError:
        return mismatch_error(self.root, self.metadata_file, missing, unnamed)


def _pictures_below(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if parts[0] == "rejected" or hidden or path.name.endswith(".mask.png"):
            continue
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            yield path.relative_to(root).as_posix()


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from csv_rows(read_text_any(path))
    except csv.Error as error:
        raise DatasetError(
            f"not a CSV file: {error}", where=str(path), todo="Mend it, or write metadata.jsonl"
        ) from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_text_any(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f"not a JSON object: {error}", where=f"{path}:{number}", todo="Mend or delete the line"
            ) from error


def _read_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
    items: dict[str, Item] = {}
    for number, row in enumerate(rows, 2 if path.suffix == ".csv" else 1):
        name = str(row.get("file_name") or "").replace("\\", "/").removeprefix("./")
        if not name:
            raise DatasetError(
                "no file_name", where=f"{path}:{number}", todo="The columns are file_name,caption"
            )
        if name in items:
            raise DatasetError(
                f"{name} is named twice", where=f"{path}:{number}", todo="Delete one of the lines"
            )
        key = next((k for k in CAPTION_KEYS if row.get(k) is not None), None)
        caption = " ".join(str(row[key]).split()) if key else ""
        extra = {
            str(k): str(v) for k, v in row.items() if k not in {"file_name", key, None} and v is not None
        }
        items[name] = Item(name, caption, extra)
    return list(items.values())


def mismatch_error(folder: Path, where: Path, missing: Sequence[str], unnamed: Sequence[str]) -> DatasetError:
    """The error for metadata that does not fit the pictures, with the first ten of each kind.

    Args:
        folder: The folder that the metadata is about.
        where: What the error is about: the metadata's file or its folder.
        missing: Names in the metadata without a picture.
        unnamed: Pictures that the metadata does not name.

    Returns:
        The error, with the command that repairs.
    """
    also = f"; {counted(len(unnamed), 'picture')} not named: {some_of(unnamed)}" if unnamed else ""
    verb = "does" if len(missing) == 1 else "do"
    return DatasetError(
        f"metadata names {counted(len(missing), 'picture')} that {verb} not exist: {some_of(missing)}{also}",
        where=str(where),
        todo=f"Put them back, or take their lines out with `veneer caption {folder} --prune`",
    )
