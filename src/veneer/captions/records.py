"""Who wrote each caption: the record by which a person's words are told from a model's.

``captions.jsonl`` keeps what a model wrote and what was made of it. A caption in the metadata that differs
from its record was edited by a person, and one without a record was there before: neither is written over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from veneer.captions.faults import Fault
from veneer.config import CaptionTable
from veneer.records.dataset import Dataset, Item
from veneer.records.files import damaged, open_to_append, write_text
from veneer.records.jsonlines import drop_torn_line, read_lines
from veneer.records.provenance import read_provenance
from veneer.text import with_trigger

BEGUN = ".captions.begun.jsonl"
Author = Literal["model", "name", "person"]

_COUNTERS = frozenset(
    {"img", "dsc", "dscn", "dscf", "pxl", "vid", "image", "photo", "picture", "pic", "screenshot", "p"}
)
"""What cameras and programs write before a number."""


@dataclass(frozen=True)
class CaptionRecord:
    """Where one caption came from.

    Attributes:
        file_name: The picture.
        by: Who wrote it: a model, the file's name, or a person.
        text: The words themselves, before prefix, trigger and replacements.
        caption: What stands in the metadata.
        model: The captioner; empty for a person's.
        trigger: The trigger word in ``caption``.
        faults: What is wrong with it, as far as it was looked at.
        attempts: How often the model was asked.
        edited: Whether a person changed a generated caption.
    """

    file_name: str
    by: Author
    text: str
    caption: str
    model: str = ""
    trigger: str = ""
    faults: tuple[Fault, ...] = ()
    attempts: int = 1
    edited: bool = False


_RECORD = TypeAdapter(CaptionRecord)


def read_records(dataset: Dataset, captions: Mapping[str, str] | None = None) -> dict[str, CaptionRecord]:
    """Read the record, and what an interrupted command has added to it.

    Args:
        captions: What stands in the metadata, by file name: where that is what an interrupted command was
            about to record, it is that command's and no person's.

    Returns:
        Records by file name.
    """
    journals: dict[str, CaptionRecord] = {}
    for path in _journals(dataset):
        for record in _records_in(path):
            known = journals.get(record.file_name)
            if known is None or record.attempts >= known.attempts:  # each attempt may be another process's
                journals[record.file_name] = record
    if captions is not None:  # what was asked for anew does not stand yet, and what stands is no edit of it
        journals = {n: one for n, one in journals.items() if captions.get(n, "") in ("", one.caption)}
    last = {record.file_name: record for record in _records_in(dataset.captions_jsonl)} | journals
    begun = {record.file_name: record for record in _records_in(dataset.root / BEGUN)} if captions else {}
    return last | {
        name: one for name, one in begun.items() if one.caption and one.caption == (captions or {}).get(name)
    }


def read_unfinished(dataset: Dataset) -> dict[int, dict[str, CaptionRecord]]:
    """Read what an interrupted command has generated.

    Returns:
        Records by attempt, from 1, and file name.
    """
    found: dict[int, dict[str, CaptionRecord]] = {}
    for path in _journals(dataset):
        for record in _records_in(path):
            found.setdefault(record.attempts, {})[record.file_name] = record
    return found


def begin_records(dataset: Dataset, records: Iterable[CaptionRecord]) -> None:
    """Keep what is about to be recorded: a kill before it is would make a person's words of a model's."""
    write_text(dataset.root / BEGUN, _lines(records))


def write_records(dataset: Dataset, records: Iterable[CaptionRecord]) -> None:
    """Write the record whole, and remove the journals that it now holds.

    Args:
        records: One for each captioned picture.
    """
    write_text(dataset.captions_jsonl, _lines(records))
    for journal in (*_journals(dataset), dataset.root / BEGUN):
        journal.unlink(missing_ok=True)


def append_journal(dataset: Dataset, rank: int, records: Sequence[CaptionRecord]) -> None:
    """Keep what was just generated, so that a kill loses one batch at most.

    Args:
        rank: Number of this process; each has a journal of its own.
    """
    path = dataset.root / f".captions-{rank}.jsonl"
    with open_to_append(path) as file:
        file.writelines(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)


def plan_item(
    item: Item, record: CaptionRecord | None, config: CaptionTable, *, overwrite: bool
) -> CaptionRecord | None:
    """Decide what becomes of a picture's caption.

    Args:
        item: The picture and its caption in the metadata.
        record: Where that came from, where it is known.
        overwrite: Whether generated captions are generated again.

    Returns:
        The record to keep, rendered anew; None where the caption has to be generated.
    """
    caption = item.caption.strip()
    if record is not None and record.by != "person" and caption in {"", record.caption}:
        pending = caption == "" and record.caption != ""  # generated, but the command was interrupted
        stale = overwrite or record.model != config.model
        if stale or (caption == "" and not pending):
            return None
        return replace(record, caption=written_caption(record.text, config), trigger=config.trigger)
    if not caption:
        return None
    if record is not None and record.by == "person" and caption == record.caption:
        kept = record
    else:
        text = _without_trigger(caption, record.trigger if record else config.trigger)
        edited = record is not None and (record.edited or record.by != "person")
        kept = CaptionRecord(item.file_name, "person", text, caption, edited=edited)
    return replace(kept, caption=with_trigger(kept.text, config.trigger), trigger=config.trigger)


def written_caption(text: str, caption: CaptionTable) -> str:
    """Make a training caption of a generated text.

    Args:
        text: What the model wrote.
        caption: Replacements, prefix and trigger.

    Returns:
        Such as "vnr, 8-bit illustration of a red house".
    """
    for word, other in caption.replacements.items():
        pieces = re.split(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags=re.IGNORECASE)
        text = other.join(pieces)
    words = " ".join(f"{caption.prefix} {text}".split())
    return with_trigger(words, caption.trigger)


def caption_from_name(name: str) -> str:
    """Make words of a file's name or, where that is only a camera's counter, of its folder's.

    Args:
        name: Path as it was found, such as "8-bit city/red_house-03.png".

    Returns:
        Such as "red house"; empty where neither name says anything.
    """
    path = Path(name)
    for part in (path.stem, path.parent.name):
        pieces = re.split(r"[\s_\-.,()+]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part))
        words = [piece for piece in pieces if piece and not piece.isdigit()]
        words = [word for word in words if word.lower().rstrip("0123456789") not in _COUNTERS]
        if words:
            return " ".join(words).lower()
    return ""


def found_names(dataset: Dataset) -> Mapping[str, str]:
    """Look up under which names pictures were found.

    Returns:
        Original names by file name, as far as they are known.
    """
    return {one.file_name: one.told("name") for one in read_provenance(dataset)}


def _without_trigger(caption: str, trigger: str) -> str:
    return caption.removeprefix(trigger).lstrip(" ,") if trigger else caption


def _lines(records: Iterable[CaptionRecord]) -> str:
    return "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)


def _records_in(path: Path) -> Iterator[CaptionRecord]:
    drop_torn_line(path)
    for line in read_lines(path):
        try:
            yield _RECORD.validate_python(line)
        except ValidationError as error:
            todo = "Delete the line; its caption then counts as a person's"
            raise damaged(path, error, todo) from error


def _journals(dataset: Dataset) -> Iterator[Path]:
    yield from sorted(dataset.root.glob(".captions-*.jsonl"))
