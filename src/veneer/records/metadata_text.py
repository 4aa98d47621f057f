"""Metadata files written: a caption is changed in its place, the rest stays as its user wrote it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from veneer.records.jsonlines import json_line
from veneer.records.metadata import (
    CAPTION_KEYS,
    NAME_KEY,
    MetadataRow,
    MetadataTable,
    caption_column,
    column_key,
    column_position,
)


def metadata_text(table: MetadataTable, rows: Sequence[MetadataRow]) -> str:
    """Write a metadata file anew.

    Args:
        table: The file as it was read; of a new one, its path alone.
        rows: Its entries; those that were read and not changed keep their text.

    Returns:
        The whole file.
    """
    if table.path.suffix == ".jsonl":
        return "".join(_json_text(row) for row in rows)
    return _csv_text(table, rows)


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
            keys = {column_key(column) for column in header}
            header += [key for key in row.extra if column_key(key) not in keys]
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
        own = {column_key(key): value for key, value in row.extra.items()}
        cells = [_cell(own.get(column_key(column))) for column in header]
        cells[_place(header, (NAME_KEY,))] = row.name
    if not row.is_as_read:
        place = header.index(row.column) if row.column else _place(header, CAPTION_KEYS)
        cells[place] = _cell(row.captions)
    return cells


def _place(header: Sequence[str], wanted: Sequence[str]) -> int:
    position = column_position(header, wanted)
    assert position is not None
    return position


def _cell(value: Any) -> str:
    """A value as CSV holds it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
