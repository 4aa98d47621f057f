"""Metadata files as their users wrote them, read: CSV and JSON lines, whatever their columns are called."""

from __future__ import annotations

import ast
import csv
import functools
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from veneer.errors import DatasetError
from veneer.records.jsonlines import parse_object
from veneer.text import read_text_any, separator_of

NAME_KEY = "file_name"
OTHERS_KEY = "other_captions"
"""Column of a picture's further captions, in a file that holds one caption a picture."""
CAPTION_KEYS = (
    "caption",
    "text",
    "prompt",
    "captions",
    "texts",
    "prompts",
    "sentence",
    "description",
    "en_caption",
    "title",
)
"""Columns that are read as captions, whatever their case; of several that hold one, the first."""


class MetadataRow(NamedTuple):
    """One picture's entry; a tuple, as there are many of them.

    Attributes:
        name: The picture, with forward slashes, as it is spelled here.
        caption: Its caption in one line.
        others: Further captions, where it has several.
        extra: Columns that are not ours.
        column: The column that its caption stands in, as it is spelled; empty where it has none.
        raw: What stands in the file; empty where the entry is new.
        read: The caption that ``raw`` holds.
        cells: The values of a CSV file's line.
    """

    name: str
    caption: str = ""
    others: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}
    column: str = ""
    raw: str = ""
    read: str = ""
    cells: tuple[str, ...] = ()

    @property
    def is_as_read(self) -> bool:
        """Whether the file holds it already."""
        return self.raw != "" and self.caption == self.read

    @property
    def captions(self) -> str | list[str]:
        """What is written as its caption."""
        return [self.caption, *self.others] if self.others else self.caption


@dataclass(frozen=True)
class MetadataTable:
    """A metadata file.

    Attributes:
        rows: Its entries in their order.
        header: Columns of a CSV file as they are spelled; empty for JSON lines.
        heading: Text of the header.
        separator: What stands between columns of a CSV file.
    """

    path: Path
    rows: tuple[MetadataRow, ...] = ()
    header: tuple[str, ...] = ()
    heading: str = ""
    separator: str = ","

    @property
    def unread_columns(self) -> list[str]:
        """Columns, where none is read as a caption; empty where one is, or where there are none."""
        columns = dict.fromkeys(key for row in self.rows for key in row.extra)
        has_captions = (
            any(row.caption for row in self.rows) or column_position(self.header, CAPTION_KEYS) is not None
        )
        return [] if has_captions else list(columns)


def read_table(path: Path) -> MetadataTable:
    """Read a metadata file, whatever its encoding.

    Returns:
        The file; without rows where there is none.

    Raises:
        DatasetError: If a line cannot be read, lacks ``file_name`` or names a picture twice.
    """
    if not path.is_file():
        return MetadataTable(path)
    table = _read_jsonl(path) if path.suffix == ".jsonl" else _read_csv(path)
    if len({row.name for row in table.rows}) < len(table.rows):
        raise _named_twice(table)
    return table


def captions_in(value: Any) -> tuple[str, ...] | None:
    """Read captions out of a value, each in one line.

    Args:
        value: A text, a list of texts, or a list that was written as a text.

    Returns:
        The captions; none where it is empty; None where it is no caption.
    """
    match value:
        case str() if not value.lstrip().startswith("["):
            line = _in_one_line(value)
            return (line,) if line else ()
        case None:
            return ()
        case bool() | dict():
            return None
        case float() if math.isnan(value):
            return ()
        case str():
            texts = _listed(value) or [value]
        case list() | tuple():
            found = [captions_in(one) for one in value if not isinstance(one, (list, tuple))]
            nested = [
                captions_in(tuple(one)) for one in value if isinstance(one, (list, tuple)) and len(one) < 100
            ]
            parts = [part for part in (*found, *nested) if part is not None]
            return tuple(text for part in parts for text in part) if parts or not value else None
        case _:
            texts = [str(value)]
    return tuple([line for text in texts if (line := _in_one_line(text))])


def _in_one_line(text: str) -> str:
    """A text in one line, with a mark in place of what is no character."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(whole.split())


def caption_column(columns: Sequence[str]) -> str | None:
    """Find the column that is read as captions.

    Args:
        columns: Names, in any case and with spaces around.

    Returns:
        One of them; None where none is.
    """
    position = column_position(columns, CAPTION_KEYS)
    return None if position is None else columns[position]


def column_key(column: object) -> str:
    """How a column is called, whatever its case and the spaces around it."""
    return str(column).strip().casefold()


def column_position(columns: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where the first of the wanted columns stands; None where there is none."""
    keys = [column_key(column) for column in columns]
    return next((keys.index(key) for key in wanted if key in keys), None)


def _listed(text: str) -> list[str] | None:
    """A list of texts that was written as one text, such as "['a house', 'a hut']"."""
    text = text.strip()
    if not (text.startswith(('["', "['")) and text.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return value
    return None


@functools.lru_cache(maxsize=64)
def _own_columns(columns: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The column of the name, None where there is none, and those that are read as captions, the best first.

    Of columns of one name the first counts.
    """
    keys = {column_key(column): column for column in reversed(columns)}
    return keys.get(NAME_KEY), tuple(keys[wanted] for wanted in CAPTION_KEYS if wanted in keys)


def _row(values: dict[str, Any], raw: str, where: str, cells: tuple[str, ...] = ()) -> MetadataRow:
    """Make an entry of columns and their values; what is left of them are its further columns."""
    name_column, caption_columns = _own_columns(tuple(values))
    name = "" if name_column is None else str(values[name_column] or "")
    name = name.replace("\\", "/").removeprefix("./")
    if name_column is None or not name:
        columns = ", ".join(values)
        raise DatasetError(
            f"no file_name; columns found: {columns}", where=where, todo="The columns are file_name,caption"
        )
    texts: tuple[str, ...] = ()
    used = None
    for key in caption_columns:
        found = captions_in(values[key])
        if found is not None and (used is None or found):
            texts, used = found, key
        if texts:
            break
    del values[name_column]
    if used is not None:
        del values[used]
    if None in values.values():
        values = {key: value for key, value in values.items() if value is not None}
    caption = texts[0] if texts else ""
    return MetadataRow(name, caption, texts[1:], values, used or "", raw, caption, cells)


def read_row(line: str, where: str) -> MetadataRow:
    """Read one line of JSON.

    Args:
        line: The line, with or without its end.

    Returns:
        The entry.

    Raises:
        DatasetError: If it is no JSON object, or has no ``file_name``.
    """
    return _row(parse_object(line, where), line.removesuffix("\n") + "\n", where)


def _read_jsonl(path: Path) -> MetadataTable:
    rows, place = [], str(path)
    lines = read_text_any(path).split("\n")  # splitlines knows ends that JSON does not
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            rows.append(_row(parse_object(line, where := f"{place}:{number}"), line + "\n", where))
    return MetadataTable(path, tuple(rows))


def _read_csv(path: Path) -> MetadataTable:
    text = read_text_any(path)
    separator = separator_of(text)
    records = csv_records(text, separator, path)
    first = next(records, None)
    if first is None:
        return MetadataTable(path)
    header, heading, _ = first
    is_plain = len(set(header)) == len(header)
    rows, place, width = [], str(path), len(header)
    for cells, raw, number in records:
        where = f"{place}:{number}"
        fitted = cells if len(cells) == width else fit_cells(cells, header, separator, where)
        values: dict[str, Any] = dict(zip(header, fitted, strict=True))
        if not is_plain:  # of equal columns the first
            values |= dict(zip(reversed(header), reversed(fitted), strict=True))
        whole = cells if fitted is cells else [cell or "" for cell in fitted]
        rows.append(_row(values, raw, where, tuple(whole)))
    return MetadataTable(path, tuple(rows), tuple(header), heading, separator)


def csv_records(text: str, separator: str, path: Path) -> Iterator[tuple[list[str], str, int]]:
    """Read a CSV file, record by record.

    Args:
        text: The whole file.
        separator: What stands between columns.

    Yields:
        Cells, their text with the line end, and the number of the line; empty lines are passed over.

    Raises:
        DatasetError: If a record cannot be read.
    """
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator)
    begin = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            limit = f"a value of more than {csv.field_size_limit():,} characters"
            reason = f"{limit}: a quote is not closed" if "field limit" in str(error) else str(error)
            raise DatasetError(
                f"not a CSV file: {reason}", where=f"{path}:{begin + 1}", todo="Mend the line"
            ) from error
        if cells is None:
            return
        if cells:
            end = reader.line_num
            yield cells, lines[begin] if end == begin + 1 else "".join(lines[begin:end]), begin + 1
        begin = reader.line_num


def fit_cells(cells: list[str], header: list[str], separator: str, where: str) -> list[str | None]:
    """Bring a record to as many cells as there are columns.

    Args:
        cells: What was read; commas in a caption at the end that nobody quoted belong to it.
        separator: What stands between them.

    Returns:
        One value for each column; None where the record is too short.

    Raises:
        DatasetError: If there are more values than columns.
    """
    last = len(header) - 1
    if len(cells) <= len(header):
        return [*cells, *[None] * (len(header) - len(cells))]
    if column_position(header, CAPTION_KEYS) == last or not any(cell.strip() for cell in cells[last + 1 :]):
        rest = separator.join(cells[last:])
        return [*cells[:last], rest.rstrip(separator + " ") if not any(cells[last + 1 :]) else rest]
    raise DatasetError(
        f"{len(cells)} values for {len(header)} columns ({', '.join(header)})",
        where=where,
        todo=f'Put a caption with "{separator}" in it in double quotes',
    )


def _named_twice(table: MetadataTable) -> DatasetError:
    """The error for the first name that comes again, with the line of its last one.

    The line is right in files without line breaks in captions.
    """
    names = [row.name for row in table.rows]
    seen: set[str] = set()
    first = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    last = len(names) - names[::-1].index(first)
    line = last + (table.path.suffix == ".csv")
    todo = "Delete one of the lines"
    return DatasetError(f"{first} is named twice", where=f"{table.path}:{line}", todo=todo)
