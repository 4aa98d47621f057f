"""The pictures of a data set as the page shows them: filtered, in pages, with captions and findings."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.errors import DatasetError
from veneer.records.check import known_check
from veneer.records.dataset import Dataset
from veneer.records.pick import known_pick
from veneer.records.provenance import PictureOrigin, read_provenance
from veneer.records.rejected import Rejected, rejected_by_line
from veneer.web import markup
from veneer.web.tabs.dataset.thumbnails import thumbnail

ALL, NO_CAPTION, FLAGGED, PICKED, REJECTED = "all", "no caption", "flagged", "picked", "rejected"
PAGE = 12
USUAL_RESOLUTION = 512
"""Training resolution in pixels where none was asked for."""


@dataclass(frozen=True)
class Card:
    """A picture on the page.

    Attributes:
        name: Its file name within the data set; of a rejected one the name it had.
        notes: What is wrong with it, in plain words.
        flags: The same as flags.
        can_return: Whether a rejected picture can be brought back.
        own: The name that its file had before it was collected; empty where that is not known.
        size: Its width and height in pixels; zeros where they are not known.
    """

    name: str
    path: Path
    caption: str
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    can_return: bool = False
    own: str = ""
    size: tuple[int, int] = (0, 0)

    def holds(self, words: Sequence[str]) -> bool:
        """Whether its names, caption and findings hold all words, whatever their case."""
        text = " ".join((self.name, self.own, self.caption, *self.notes)).lower()
        return all(word in text for word in words)


ORDERS: Mapping[str, Callable[[Card], Any]] = {
    "own file name": lambda card: card.own.lower(),
    "caption": lambda card: card.caption.lower(),
    "shortest caption first": lambda card: len(card.caption),
    "smallest first": lambda card: card.size[0] * card.size[1],
    "largest first": lambda card: -card.size[0] * card.size[1],
    "most findings first": lambda card: -len(card.notes),
}
"""Orders of the pictures beside that in which they were taken."""
AS_TAKEN = "as they were taken"


@dataclass(frozen=True)
class Gallery:
    """All pictures of a data set.

    Attributes:
        cards: Those in use, by name.
        rejected: Those left out.
        picked: Names of those picked as differing most, in that order.
    """

    cards: Sequence[Card]
    rejected: Sequence[Card]
    picked: Sequence[str] = ()

    def filters(self) -> list[tuple[str, str]]:
        """What can be shown: (label with count, filter)."""
        flags = Counter(flag for card in self.cards for flag in card.flags)
        counts = {
            ALL: len(self.cards),
            NO_CAPTION: sum(not card.caption for card in self.cards),
            FLAGGED: sum(bool(card.flags) for card in self.cards),
            **flags,
            **({PICKED: len(self.shown(PICKED))} if self.picked else {}),
            REJECTED: len(self.rejected),
        }
        return [(f"{name} ({count})", name) for name, count in counts.items()]

    def sorted(self, chosen: str, wanted: str = "", order: str = "") -> list[Card]:
        """The pictures that a filter lets through, and whose names, caption or findings hold some words.

        Args:
            wanted: Words, all of which are held; empty for no such question.
            order: One of `ORDERS`; any other text leaves them as they are.
        """
        words = wanted.lower().split()
        found = [card for card in self.shown(chosen) if card.holds(words)]
        return sorted(found, key=ORDERS[order]) if order in ORDERS else found

    def shown(self, chosen: str) -> list[Card]:
        """The pictures that a filter lets through.

        Returns:
            Cards; rejected ones only by their own filter.
        """
        match chosen:
            case "all":
                return list(self.cards)
            case "no caption":
                return [card for card in self.cards if not card.caption]
            case "flagged":
                return [card for card in self.cards if card.flags]
            case "picked":
                by_name = {card.name: card for card in self.cards}
                return [by_name[name] for name in self.picked if name in by_name]
            case "rejected":
                return list(self.rejected)
        return [card for card in self.cards if chosen in card.flags]


def read_gallery(folder: Path) -> Gallery:
    """Read a data set.

    Returns:
        Its pictures.

    Raises:
        DatasetError: If its metadata cannot be read.
    """
    dataset = Dataset(folder)
    checked = known_check(dataset)
    found = checked.by_picture if checked else {}
    origins = _origins(dataset)
    cards = [
        Card(
            item.file_name,
            folder / item.file_name,
            item.caption,
            tuple(str(one.reason) for one in found.get(item.file_name, [])),
            tuple(str(one.flag) for one in found.get(item.file_name, [])),
            own=_own_name(origins.get(item.file_name)),
            size=_size(origins.get(item.file_name)),
        )
        for item in dataset.items()
    ]
    picked = known_pick(dataset)
    return Gallery(cards, _left_out(folder), picked.pictures if picked else ())


def _origins(dataset: Dataset) -> Mapping[str, PictureOrigin]:
    """Where pictures came from, by file name; nothing is known where the ledger is damaged."""
    with contextlib.suppress(DatasetError):  # what is damaged is said where it is collected
        return {one.file_name: one for one in read_provenance(dataset)}
    return {}


def _own_name(known: PictureOrigin | None) -> str:
    """The last part of the path or address that a picture came from."""
    return re.split(r"[/:\\]", known.origin.partition("?")[0].rstrip("/"))[-1] if known else ""


def _size(known: PictureOrigin | None) -> tuple[int, int]:
    return known.size or (0, 0) if known else (0, 0)


def checked_resolution(dataset: Dataset) -> int:
    """Read which training resolution `veneer check` was last asked about.

    Returns:
        Pixels; what Stable Diffusion 1.x was trained at where it was not checked.
    """
    checked = known_check(dataset)
    return checked.resolution if checked and checked.resolution > 0 else USUAL_RESOLUTION


def card_html(card: Card, cache: Path) -> str:
    """A picture with its name and findings.

    Args:
        cache: Folder of the thumbnails.
    """
    small = thumbnail(card.path, cache)
    alt = card.caption or f"{card.name}, no caption yet"
    shown = markup.picture(small, alt) if small else markup.empty("cannot be shown", card.path.name)
    notes = "".join(f'<div class="v-gone">{markup.escaped(note)}</div>' for note in card.notes)
    own = f" from {markup.escaped(card.own)}" if card.own else ""
    return f'{shown}<div class="v-cell"><b>{markup.escaped(Path(card.name).name)}</b>{own}{notes}</div>'


def make_ahead(cards: Iterable[Card], cache: Path) -> None:
    """Make thumbnails of what is likely to be looked at next, without keeping anybody waiting.

    Args:
        cards: The pictures; where it is a generator, reading them keeps nobody waiting either.
        cache: Folder of the thumbnails.
    """

    def make() -> None:
        for card in cards:
            thumbnail(card.path, cache)

    threading.Thread(target=make, name="veneer-thumbnails", daemon=True).start()


def dataset_facts(folder: Path, gallery: Gallery) -> str:
    """Counts, sizes and buckets of a data set; buckets at the resolution that it was checked for.

    Args:
        gallery: Its pictures.

    Returns:
        HTML.
    """
    from veneer.encoding.buckets import bucket_for

    sizes = _sizes(Dataset(folder), {card.name for card in gallery.cards})
    resolution = checked_resolution(Dataset(folder))
    pairs: list[tuple[str, object]] = [
        ("Pictures", len(gallery.cards)),
        ("With a caption", sum(bool(card.caption) for card in gallery.cards)),
        ("Flagged", sum(bool(card.flags) for card in gallery.cards)),
        ("Rejected", len(gallery.rejected)),
    ]
    if sizes:
        small, large = min(sizes.values(), key=_area), max(sizes.values(), key=_area)
        pairs.append(("Smallest and largest", f"{small[0]}x{small[1]} to {large[0]}x{large[1]} px"))
        buckets = Counter(
            bucket_for(size, resolution, 64 if resolution >= 256 else 8) for size in sizes.values()
        )
        most = [f"{w}x{h}: {count}" for (w, h), count in buckets.most_common(4)]
        more = f" and {len(buckets) - 4} more" if len(buckets) > 4 else ""
        pairs.append((f"Buckets at {resolution} px", ", ".join(most) + more))
    return markup.facts(pairs)


def _sizes(dataset: Dataset, names: set[str]) -> Mapping[str, tuple[int, int]]:
    """Sizes as `collect` entered them; an entry that is not as ours are says nothing."""
    known = (one for one in read_provenance(dataset) if one.file_name in names)
    return {one.file_name: one.size for one in known if one.size is not None}


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _left_out(folder: Path) -> list[Card]:
    """What was left out; a line that is damaged takes no other with it, and is shown as what it is."""
    nowhere = folder / "rejected" / "damaged"
    return [
        Card(f"line {number}", nowhere, "", ("its line in reasons.jsonl is damaged",))
        if one is None
        else _rejected(folder, one)
        for number, one in rejected_by_line(Dataset(folder))
    ]


def _rejected(folder: Path, one: Rejected) -> Card:
    path = folder / (one.file or "rejected/not kept")
    if not path.resolve().is_relative_to(folder.resolve()):  # whoever wrote the line
        path = folder / "rejected" / "not kept"
    return Card(one.name, path, one.told("caption"), (one.reason,), (), one.stage == "check")
