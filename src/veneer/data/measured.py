"""What was measured of each picture of a data set, kept for the next look: ``.measures.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from veneer.data.inspection import INSPECTION_VERSION, Inspected
from veneer.data.worker import Failure
from veneer.errors import DatasetError
from veneer.records.dataset import Dataset
from veneer.records.jsonlines import drop_torn_line, read_lines

Known = Mapping[str, tuple[str, Inspected | str]]
"""Stamp and measures of each picture by name, or why there are none."""


def read_measures(dataset: Dataset) -> dict[str, tuple[str, Inspected | str]]:
    """What is known of a data set's pictures; nothing where the file is damaged, which is removed."""
    path = dataset.measures_jsonl
    drop_torn_line(path)
    known: dict[str, tuple[str, Inspected | str]] = {}
    try:
        for line in read_lines(path):
            name, stamp = line.pop("file_name"), line.pop("stamp")
            if "broken" in line:
                known[name] = (stamp, str(line["broken"]))
            else:
                known[name] = (stamp, Inspected(**{**line, "colours": bytes.fromhex(line["colours"])}))
    except (DatasetError, KeyError, TypeError, ValueError):
        path.unlink()  # damaged: all is measured anew
        return {}
    return known


def stamp_of(path: Path) -> str:
    """What changes when a file is written anew, or measured in another way."""
    try:
        facts = path.stat()
    except OSError:  # deleted meanwhile
        return ""
    return f"{INSPECTION_VERSION}-{facts.st_size}-{facts.st_mtime_ns}"


def fresh_names(dataset: Dataset, names: Sequence[str], known: Known) -> list[str]:
    """Pictures that were not measured as they are now."""
    return [name for name in names if known.get(name, ("",))[0] != stamp_of(dataset.root / name)]


def measure_line(name: str, stamp: str, seen: Inspected | Failure) -> str:
    """The line that keeps what was measured of a picture.

    Args:
        stamp: The picture's stamp after it was looked at.

    Returns:
        The line; empty where looking took too long, as on a quieter machine it may not.
    """
    entry: dict[str, Any] = {"file_name": name, "stamp": stamp}
    if isinstance(seen, Failure):
        if seen.timed_out:
            return ""
        entry["broken"] = seen.reason
    else:
        entry |= {**asdict(seen), "colours": seen.colours.hex()}
    return json.dumps(entry) + "\n"
