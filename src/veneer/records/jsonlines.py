"""Files of JSON objects, one a line: a kill leaves at most one torn line, the last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from veneer.errors import DatasetError
from veneer.records.files import open_to_append, refuse_link


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        text: JSON of any origin.

    Raises:
        DatasetError: If it is something else, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _not_an_object(reason, where) from error
    if not isinstance(value, dict):
        raise _not_an_object(f"it is a {type(value).__name__}", where)
    return value


def _not_an_object(reason: str, where: str) -> DatasetError:
    return DatasetError(f"not a JSON object: {reason}", where=where, todo="Mend or delete the line")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a file of JSON objects, one a line.

    Args:
        path: The file; a missing one has no lines.

    Yields:
        The objects; a last line that a killed command left unfinished is passed over.

    Raises:
        DatasetError: If another line is damaged.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or not (line.endswith(b"\n") or _is_whole(line)):
                continue
            yield parse_object(line.decode("utf-8", "replace"), f"{path}:{number}")


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a killed command left unfinished; give a whole one its end.

    Args:
        path: A file of lines; a missing one stays missing.
    """
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return
    refuse_link(path)
    if _is_whole(content[whole:]):
        with path.open("ab") as file:
            file.write(b"\n")
    else:
        os.truncate(path, whole)


def json_line(value: Mapping[str, Any]) -> str:
    """Write one object as a line.

    Args:
        value: Plain data.

    Returns:
        JSON with its line end; what UTF-8 cannot hold, such as an odd file name, is escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    return text + "\n"


def append_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Add objects to a file of lines.

    Args:
        path: The file; it and its folder are made where they do not exist.
        entries: Plain data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _ends_whole(path):
        drop_torn_line(path)
    with open_to_append(path) as file:
        file.writelines(json_line(entry) for entry in entries)


def _ends_whole(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
