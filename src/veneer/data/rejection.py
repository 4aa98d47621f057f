"""Move pictures of a data set to ``rejected/`` and back; nothing is deleted, no file replaced."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from veneer.data.findings import Finding
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent, ignore
from veneer.records.dataset import Dataset
from veneer.records.metadata import MetadataRow, read_row
from veneer.records.names import FreeNames, find_mask, is_within, mask_of, move_unless_there
from veneer.records.rejected import Rejected, add_rejected, mend_rejected, read_rejected, write_rejected
from veneer.records.spellings import assign
from veneer.text import counted, some_of

STAGE = "check"
"""The stage that rejects, as its notices and reasons name it."""


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
        promised = [Path(one.file).name for one in read_rejected(dataset)]
        names = FreeNames(dataset.rejected, promised)
        new = {
            name: _entry(dataset, name, known.get(name, MetadataRow(name)), found, names)
            for name, found in findings.items()
            if name not in begun
        }
        add_rejected(dataset, new.values())
        dataset.remove_items([row.name for row in known.values()])
        entries = (begun | new).values()
        return sum(_move(_old_place(dataset, entry), dataset.root / entry.file) for entry in entries)


def bring_back(dataset: Dataset, names: Collection[str] | None = None, on_event: OnEvent = ignore) -> int:
    """Bring back what `move_away` moved, with the captions it had.

    Args:
        names: Which pictures, by the names they had; None for all.

    Returns:
        Pictures brought back.
    """
    with dataset.writing():
        mend_rejected(dataset)
        entries = list(read_rejected(dataset))
        mine = [one for one in _ours(dataset, entries) if names is None or one.told("file_name") in names]
        rows = {row.name: row for row in dataset.read_table().rows}
        moved, stay = 0, []
        captions: dict[str, str] = {}
        added: dict[str, MetadataRow] = {}
        for one in mine:
            name, file = one.told("file_name"), dataset.root / one.file
            if os.path.lexists(file):
                if not _move(file, dataset.root / name):
                    stay.append(one)
                    continue
                moved += 1
            if _is_the_same(dataset, one) and name not in rows:
                added.setdefault(name, _row(dataset, one))
            elif _is_the_same(dataset, one) and not rows[name].caption:
                captions[name] = one.told("caption")
        if captions:
            dataset.write_captions(captions, dict.fromkeys(captions, ""))
        if added:
            dataset.add_rows(list(added.values()))
        if mine:
            write_rejected(dataset, [one for one in entries if one not in mine or one in stay])
    _notify(stay, on_event)
    return moved


def _row(dataset: Dataset, entry: Rejected) -> MetadataRow:
    """The line of the metadata that a picture had."""
    name, raw = entry.told("file_name"), entry.facts.get("row")
    if isinstance(raw, str) and dataset.metadata_file == dataset.metadata_jsonl:
        row = read_row(raw, str(dataset.reasons_jsonl))
        if row.name == name:
            return row
    others = tuple(str(one) for one in entry.facts.get("others") or ())
    return MetadataRow(name, entry.told("caption"), others, dict(entry.facts.get("extra") or {}))


def _notify(stay: Sequence[Rejected], on_event: OnEvent) -> None:
    if stay:
        pairs = [f"{one.file} for {one.told('file_name')}" for one in stay]
        message = (
            f"{counted(len(stay), 'picture')} not brought back, as another file has the place: "
            f"{some_of(pairs)}"
        )
        on_event(Notice(STAGE, "place-taken", message))


def _ours(dataset: Dataset, entries: Iterable[Rejected]) -> Iterator[Rejected]:
    """Entries of this stage; the folder may be a stranger's, so each must stay within it."""
    for one in entries:
        if one.stage != STAGE:
            continue
        for place in (one.file, one.told("file_name")):
            if not is_within(dataset.root, place):
                raise DatasetError(
                    f"a place outside the data set: {place!r}",
                    where=str(dataset.reasons_jsonl),
                    todo="Delete the line",
                )
        yield one


def _begun(dataset: Dataset, names: Collection[str]) -> dict[str, Rejected]:
    """Entries of a command that ended before it had moved their pictures, without a line in the metadata."""
    entries = _ours(dataset, read_rejected(dataset))
    unmoved = (one for one in entries if _is_the_same(dataset, one) and not _has_arrived(dataset, one))
    return {name: one for one in unmoved if (name := one.told("file_name")) in names}


def _old_place(dataset: Dataset, entry: Rejected) -> Path:
    return dataset.root / entry.told("file_name")


def _has_arrived(dataset: Dataset, entry: Rejected) -> bool:
    file, place = dataset.root / entry.file, _old_place(dataset, entry)
    return os.path.lexists(file) and not (place.is_file() and file.is_file() and file.samefile(place))


def _entry(
    dataset: Dataset, name: str, row: MetadataRow, findings: Sequence[Finding], names: FreeNames
) -> Rejected:
    more = {"others": list(row.others), "row": row.raw if not row.cells else ""}
    facts = {
        "flags": [finding.flag for finding in findings],
        "file_name": name,
        "caption": row.caption,
        "extra": dict(row.extra),
        "stamp": _stamp(dataset.root / name),
        **{key: value for key, value in more.items() if value},
    }
    file = f"rejected/{names.give(_flat(name)).name}"
    reason = "; ".join(finding.reason for finding in findings)
    return Rejected(file=file, origin=name, stage=STAGE, reason=reason, facts=facts)


def _stamp(path: Path) -> str:
    """What stays when a file moves, and tells it from another of its name; empty where there is none."""
    if not path.is_file():
        return ""
    facts = path.stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _is_the_same(dataset: Dataset, entry: Rejected) -> bool:
    """Whether what lies in a picture's old place is that picture, and not a newer one."""
    stamp = _stamp(_old_place(dataset, entry))
    return stamp != "" and entry.facts.get("stamp", stamp) == stamp


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
