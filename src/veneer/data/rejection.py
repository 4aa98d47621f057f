"""Move pictures of a data set to ``rejected/`` and back; nothing is deleted, no file replaced."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from veneer.data.findings import Finding
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent, ignore
from veneer.records.dataset import Dataset
from veneer.records.files import write_text
from veneer.records.jsonlines import append_lines, drop_torn_line, json_line, read_lines
from veneer.records.metadata import MetadataRow, read_row
from veneer.records.names import FreeNames, find_mask, is_within, mask_of, move_unless_there
from veneer.records.spellings import assign
from veneer.text import counted, some_of

STAGE = "check"
"""The stage that rejects, as its notices and reasons name it."""

_Line = dict[str, Any]


def move_away(dataset: Dataset, findings: Mapping[str, Sequence[Finding]]) -> int:
    """Move pictures to ``rejected/``, with their captions and reasons.

    Reasons are written first, then the metadata, then files move: a kill in between loses nothing, and the
    same command goes on.

    Args:
        findings: For each picture to move, why.

    Returns:
        Pictures moved.
    """
    if not findings:
        return 0
    with dataset.writing():
        rows = {row.name: row for row in dataset.read_table().rows}
        pictures = {*dataset.picture_names(), *findings}
        meant = assign(rows, pictures, dataset.root)
        known = {picture: rows[name] for name, picture in meant.items() if picture in findings}
        begun = _begun(dataset, [name for name in findings if name not in known])
        promised = [Path(str(line.get("file", ""))).name for line in read_lines(dataset.reasons_jsonl)]
        names = FreeNames(dataset.rejected, promised)
        new = {
            name: _entry(dataset, name, known.get(name, MetadataRow(name)), found, names)
            for name, found in findings.items()
            if name not in begun
        }
        append_lines(dataset.reasons_jsonl, new.values())
        dataset.remove_items([row.name for row in known.values()])
        entries = (begun | new).values()
        return sum(
            _move(dataset.root / entry["file_name"], dataset.root / entry["file"]) for entry in entries
        )


def bring_back(dataset: Dataset, names: Collection[str] | None = None, on_event: OnEvent = ignore) -> int:
    """Bring back what `move_away` moved, with the captions it had.

    Args:
        names: Which pictures, by the names they had; None for all.

    Returns:
        Pictures brought back.
    """
    with dataset.writing():
        drop_torn_line(dataset.reasons_jsonl)
        lines = list(read_lines(dataset.reasons_jsonl))
        mine = [line for line in _ours(dataset, lines) if names is None or line["file_name"] in names]
        rows = {row.name: row for row in dataset.read_table().rows}
        moved, stay = 0, []
        captions: dict[str, str] = {}
        added: dict[str, MetadataRow] = {}
        for line in mine:
            name, file = line["file_name"], dataset.root / line["file"]
            if os.path.lexists(file):
                if not _move(file, dataset.root / name):
                    stay.append(line)
                    continue
                moved += 1
            if _is_the_same(dataset, line) and name not in rows:
                added.setdefault(name, _row(dataset, line))
            elif _is_the_same(dataset, line) and not rows[name].caption:
                captions[name] = str(line.get("caption", ""))
        if captions:
            dataset.write_captions(captions, dict.fromkeys(captions, ""))
        if added:
            dataset.add_rows(list(added.values()))
        if mine:
            left = [line for line in lines if line not in mine or line in stay]
            write_text(dataset.reasons_jsonl, "".join(json_line(line) for line in left))
    _notify(stay, on_event)
    return moved


def _row(dataset: Dataset, line: _Line) -> MetadataRow:
    """The line of the metadata that a picture had."""
    name, raw = line["file_name"], line.get("row")
    if isinstance(raw, str) and dataset.metadata_file == dataset.metadata_jsonl:
        row = read_row(raw, str(dataset.reasons_jsonl))
        if row.name == name:
            return row
    others = tuple(str(one) for one in line.get("others") or ())
    return MetadataRow(name, str(line.get("caption", "")), others, dict(line.get("extra") or {}))


def _notify(stay: Sequence[_Line], on_event: OnEvent) -> None:
    if stay:
        pairs = [f"{line['file']} for {line['file_name']}" for line in stay]
        message = (
            f"{counted(len(stay), 'picture')} not brought back, as another file has the place: "
            f"{some_of(pairs)}"
        )
        on_event(Notice(STAGE, "place-taken", message))


def _ours(dataset: Dataset, lines: Sequence[_Line]) -> Iterator[_Line]:
    """Lines of this stage; the folder may be a stranger's, so each must stay within it."""
    for line in lines:
        if line.get("stage") != STAGE:
            continue
        for key in ("file", "file_name"):
            if not is_within(dataset.root, str(line.get(key, ""))):
                raise DatasetError(
                    f"a place outside the data set: {line.get(key)!r}",
                    where=str(dataset.reasons_jsonl),
                    todo="Delete the line",
                )
        yield line


def _begun(dataset: Dataset, names: Collection[str]) -> dict[str, _Line]:
    """Entries of a command that ended before it had moved their pictures, without a line in the metadata."""
    lines = _ours(dataset, list(read_lines(dataset.reasons_jsonl)))
    unmoved = (line for line in lines if _is_the_same(dataset, line) and not _has_arrived(dataset, line))
    return {line["file_name"]: line for line in unmoved if line["file_name"] in names}


def _has_arrived(dataset: Dataset, line: _Line) -> bool:
    file, place = dataset.root / line["file"], dataset.root / line["file_name"]
    return os.path.lexists(file) and not (place.is_file() and file.is_file() and file.samefile(place))


def _entry(
    dataset: Dataset, name: str, row: MetadataRow, findings: Sequence[Finding], names: FreeNames
) -> _Line:
    more = {"others": list(row.others), "row": row.raw if not row.cells else ""}
    return {
        "file": f"rejected/{names.give(_flat(name)).name}",
        "origin": name,
        "stage": STAGE,
        "reason": "; ".join(finding.reason for finding in findings),
        "flags": [finding.flag for finding in findings],
        "file_name": name,
        "caption": row.caption,
        "extra": dict(row.extra),
        "stamp": _stamp(dataset.root / name),
        **{key: value for key, value in more.items() if value},
    }


def _stamp(path: Path) -> str:
    """What stays when a file moves, and tells it from another of its name; empty where there is none."""
    if not path.is_file():
        return ""
    facts = path.stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _is_the_same(dataset: Dataset, line: _Line) -> bool:
    """Whether what lies in a picture's old place is that picture, and not a newer one."""
    stamp = _stamp(dataset.root / line["file_name"])
    return stamp != "" and line.get("stamp", stamp) == stamp


def _flat(name: str) -> str:
    """Flat name under rejected/; sub-folders become part of it."""
    return "-".join(Path(name).parts[1:] or Path(name).parts)


def _move(source: Path, target: Path) -> bool:
    if not os.path.lexists(source):
        return False  # an earlier command was interrupted after this step
    if not move_unless_there(source, target):
        return False
    if (mask := find_mask(source)) is not None:
        move_unless_there(mask, mask_of(target))
    return True
