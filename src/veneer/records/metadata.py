"""Metadata files as their users wrote them: a caption is changed in its place, the rest stays as it is."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from veneer.errors import DatasetError
from veneer.records.jsonlines import json_line, parse_object
from veneer.text import read_text_any, separator_of

NAME_KEY = "file_name"
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


@dataclass(frozen=True)
class MetadataRow:
    """One picture's entry.

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
    extra: Mapping[str, Any] = field(default_factory=dict)
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
            any(row.caption for row in self.rows) or _position(self.header, CAPTION_KEYS) is not None
        )
        return [] if has_captions else list(columns)

    def text(self, rows: Sequence[MetadataRow]) -> str:
        """Write the file anew.

        Args:
            rows: Its entries; those that were read and not changed keep their text.

        Returns:
            The whole file.
        """
        if self.path.suffix == ".jsonl":
            return "".join(_json_text(row) for row in rows)
        return _csv_text(self, rows)


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
    seen: set[str] = set()
    for row in table.rows:
        if row.name in seen:
            where = f"{path}:{_line_of(path, table, row)}"
            raise DatasetError(f"{row.name} is named twice", where=where, todo="Delete one of the lines")
        seen.add(row.name)
    return table


def captions_in(value: Any) -> tuple[str, ...] | None:
    """Read captions out of a value, each in one line.

    Args:
        value: A text, a list of texts, or a list that was written as a text.

    Returns:
        The captions; none where it is empty; None where it is no caption.
    """
    match value:
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
    lines = (" ".join(text.encode("utf-8", "replace").decode("utf-8").split()) for text in texts)
    return tuple(line for line in lines if line)


def caption_column(columns: Sequence[str]) -> str | None:
    """Find the column that is read as captions.

    Args:
        columns: Names, in any case and with spaces around.

    Returns:
        One of them; None where none is.
    """
    position = _position(columns, CAPTION_KEYS)
    return None if position is None else columns[position]


def _key(column: object) -> str:
    return str(column).strip().casefold()


def _position(columns: Sequence[str], wanted: Sequence[str]) -> int | None:
    keys = [_key(column) for column in columns]
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


def _row(values: Mapping[str, Any], raw: str, where: str) -> MetadataRow:
    """Make an entry of columns and their values."""
    keys = {_key(key): key for key in reversed(list(values))}
    name = str(values.get(keys.get(NAME_KEY, ""), None) or "")
    name = name.replace("\\", "/").removeprefix("./")
    if not name:
        columns = ", ".join(map(str, values))
        raise DatasetError(
            f"no file_name; columns found: {columns}", where=where, todo="The columns are file_name,caption"
        )
    texts: tuple[str, ...] = ()
    used = None
    for key in (keys[wanted] for wanted in CAPTION_KEYS if wanted in keys):
        found = captions_in(values[key])
        if found is not None and (used is None or found):
            texts, used = found, key
        if texts:
            break
    extra = {str(k): v for k, v in values.items() if k not in {used, keys[NAME_KEY]} and v is not None}
    caption = texts[0] if texts else ""
    return MetadataRow(name, caption, texts[1:], extra, used or "", raw, caption)


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
    rows = []
    for number, line in enumerate(
        read_text_any(path).split("\n"), 1
    ):  # splitlines knows ends that JSON does not
        if line.strip():
            where = f"{path}:{number}"
            rows.append(read_row(line, where))
    return MetadataTable(path, tuple(rows))


def _read_csv(path: Path) -> MetadataTable:
    text = read_text_any(path)
    separator = separator_of(text)
    records = csv_records(text, separator, path)
    first = next(records, None)
    if first is None:
        return MetadataTable(path)
    header, heading, _ = first
    rows = []
    for cells, raw, number in records:
        where = f"{path}:{number}"
        fitted = fit_cells(cells, header, separator, where)
        values = dict(zip(reversed(header), reversed(fitted), strict=True))  # of equal columns the first
        row = _row({key: values[key] for key in header}, raw, where)
        rows.append(replace(row, cells=tuple(cell or "" for cell in fitted)))
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
            yield cells, "".join(lines[begin : reader.line_num]), begin + 1
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
    if _position(header, CAPTION_KEYS) == last or not any(cell.strip() for cell in cells[last + 1 :]):
        rest = separator.join(cells[last:])
        return [*cells[:last], rest.rstrip(separator + " ") if not any(cells[last + 1 :]) else rest]
    raise DatasetError(
        f"{len(cells)} values for {len(header)} columns ({', '.join(header)})",
        where=where,
        todo=f'Put a caption with "{separator}" in it in double quotes',
    )


def _line_of(path: Path, table: MetadataTable, row: MetadataRow) -> int:
    """The number of a row's line, as it is for files without line breaks in captions."""
    numbered = enumerate(table.rows, 2 if path.suffix == ".csv" else 1)
    return max(number for number, one in numbered if one.name == row.name)


def _json_text(row: MetadataRow) -> str:
    if row.is_as_read:
        return row.raw
    if not row.raw:
        return json_line({NAME_KEY: row.name, "caption": row.captions, **row.extra})
    new = json_line({"x": row.captions})[len('{"x": ') : -len("}\n")]
    if row.column:
        start, end = _value_spans(row.raw)[row.column]
        return row.raw[:start] + new + row.raw[end:]
    end = row.raw.rindex("}")
    return f'{row.raw[:end].rstrip()}, "caption": {new}{row.raw[end:]}'


def _value_spans(line: str) -> dict[str, tuple[int, int]]:
    """Where the values of a JSON object stand in its text."""
    decoder, spans = json.JSONDecoder(), {}
    at = _skip(line, line.index("{") + 1)
    while line[at] == '"':
        key, at = decoder.raw_decode(line, at)
        start = _skip(line, _skip(line, at) + 1)
        _, at = decoder.raw_decode(line, start)
        spans[key] = (start, at)
        at = _skip(line, at)
        if line[at] == ",":
            at = _skip(line, at + 1)
    return spans


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _csv_text(table: MetadataTable, rows: Sequence[MetadataRow]) -> str:
    header = list(table.header) or [NAME_KEY, "caption"]
    if caption_column(header) is None:
        header.append("caption")
    for row in rows:
        if not row.cells:
            keys = {_key(column) for column in header}
            header += [key for key in row.extra if _key(key) not in keys]
    out = io.StringIO(newline="")
    end = "\r\n" if table.heading.endswith("\r\n") else "\n"
    writer = csv.writer(out, delimiter=table.separator, lineterminator=end)
    has_new_columns = tuple(header) != table.header
    if has_new_columns:
        writer.writerow(header)
    else:
        out.write(table.heading.rstrip("\r\n") + end)
    for row in rows:
        if row.is_as_read and not has_new_columns:
            out.write(row.raw if row.raw.endswith(("\n", "\r")) else row.raw + end)
        else:
            writer.writerow(_cells(row, header))
    return out.getvalue()


def _cells(row: MetadataRow, header: Sequence[str]) -> list[str]:
    """The values of a line: those that were read with the caption in its place, or all new ones."""
    if row.cells:
        cells = [*row.cells, *[""] * (len(header) - len(row.cells))]
    else:
        own = {_key(key): value for key, value in row.extra.items()}
        cells = [_cell(own.get(_key(column))) for column in header]
        cells[_place(header, (NAME_KEY,))] = row.name
    if not row.is_as_read:
        place = header.index(row.column) if row.column else _place(header, CAPTION_KEYS)
        cells[place] = _cell(row.captions)
    return cells


def _place(header: Sequence[str], wanted: Sequence[str]) -> int:
    position = _position(header, wanted)
    assert position is not None
    return position


def _cell(value: Any) -> str:
    """A value as CSV holds it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
