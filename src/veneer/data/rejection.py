"""Move pictures of a data set to ``rejected/`` and back; nothing is ever deleted."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from veneer.data.findings import Finding
from veneer.data.provenance import drop_torn_line, read_lines
from veneer.records.dataset import Dataset, Item
from veneer.records.files import write_text

_STAGE = "check"


def move_away(dataset: Dataset, findings: Mapping[str, Sequence[Finding]]) -> int:
    """Move pictures to ``rejected/``, with their captions and reasons.

    Reasons are written first, then the metadata, then files move: a kill in between loses nothing, and the
    same command goes on.

    Args:
        dataset: The data set.
        findings: For each picture to move, why.

    Returns:
        Pictures moved.
    """
    if not findings:
        return 0
    items = dataset.read_metadata()
    known = {item.file_name: item for item in items}
    dataset.rejected.mkdir(exist_ok=True)
    entries = [_entry(dataset, known.get(name, Item(name)), found) for name, found in findings.items()]
    with _reasons(dataset).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    dataset.write_metadata([item for item in items if item.file_name not in findings])
    for entry in entries:
        _move(dataset.root / entry["file_name"], dataset.root / entry["file"])
    return len(entries)


def bring_back(dataset: Dataset, names: Collection[str] | None = None) -> int:
    """Bring back what `move_away` moved, with the captions it had.

    Args:
        dataset: The data set.
        names: Which pictures, by the names they had; None for all.

    Returns:
        Pictures brought back.
    """
    drop_torn_line(_reasons(dataset))
    lines = list(read_lines(_reasons(dataset)))
    mine = [line for line in lines if line["stage"] == _STAGE]
    mine = [line for line in mine if names is None or line["file_name"] in names]
    items = {item.file_name: item for item in dataset.read_metadata()}
    moved = 0
    for line in mine:
        name, file = line["file_name"], dataset.root / line["file"]
        if file.is_file():
            _move(file, dataset.root / name)
            moved += 1
        if (dataset.root / name).is_file() and not items.get(name, Item(name)).caption:
            items[name] = Item(name, line["caption"], line["extra"])
    if mine:
        dataset.write_metadata([items[name] for name in sorted(items)])
        others = (line for line in lines if line not in mine)
        write_text(_reasons(dataset), "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in others))
    return moved


def _entry(dataset: Dataset, item: Item, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "file": _free_name(dataset, item.file_name),
        "origin": item.file_name,
        "stage": _STAGE,
        "reason": "; ".join(finding.reason for finding in findings),
        "flags": [finding.flag for finding in findings],
        "file_name": item.file_name,
        "caption": item.caption,
        "extra": dict(item.extra),
    }


def _free_name(dataset: Dataset, name: str) -> str:
    """Flat name under rejected/; sub-folders become part of it, so that equal names do not meet."""
    flat = "-".join(Path(name).parts[1:] or Path(name).parts)
    candidate, number = flat, 1
    while (dataset.rejected / candidate).exists():
        number += 1
        candidate = f"{Path(flat).stem}-{number}{Path(flat).suffix}"
    return f"rejected/{candidate}"


def _move(source: Path, target: Path) -> None:
    if not source.is_file():
        return  # an earlier command was interrupted after this step
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    mask = source.with_name(f"{source.stem}.mask.png")
    if mask.is_file():
        mask.replace(target.with_name(f"{target.stem}.mask.png"))


def _reasons(dataset: Dataset) -> Path:
    return dataset.rejected / "reasons.jsonl"
