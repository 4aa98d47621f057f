"""Captions changed by a person, on the page or by `veneer caption --find`; later captioning keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from veneer.errors import DatasetError
from veneer.records.dataset import Dataset, Item


def set_caption(folder: Path, name: str, text: str) -> bool:
    """Write one caption.

    Args:
        name: File name of the picture.
        text: Its caption; white space is made single.

    Raises:
        DatasetError: If there is no such picture.
    """
    text = " ".join(text.split())
    dataset = Dataset(folder)
    items = dataset.items()
    if name not in {item.file_name for item in items}:
        raise DatasetError(
            "the picture is gone", where=name, todo="Choose the data set again to see what is there"
        )
    return _rewrite(dataset, items, lambda item: text if item.file_name == name else item.caption) > 0


def replace_text(folder: Path, find: str, put: str, only: str = "", *, dry_run: bool = False) -> int:
    """Find words in captions, whatever their case, and put others in their place.

    Args:
        find: What to find: whole words.
        put: What comes in its place; empty to take the words out.
        only: Pattern of the pictures whose captions are meant, such as "images/0*"; empty for all.
        dry_run: Whether to count only.

    Returns:
        Captions changed.

    Raises:
        DatasetError: If there is nothing to find, or no picture fits the pattern.
    """
    if not find.strip():
        raise DatasetError("nothing to find", todo="Write the words to replace")
    pattern = re.compile(rf"(?<!\w){re.escape(find.strip())}(?!\w)", re.IGNORECASE)
    dataset = Dataset(folder)
    items = [item for item in dataset.items() if not only or PurePosixPath(item.file_name).match(only)]
    if only and not items:
        raise DatasetError(
            "no picture of this name", where=f"{folder}: {only}", todo='Write one such as "images/0*.png"'
        )

    def changed(item: Item) -> str:
        return " ".join(pattern.sub(lambda _: put, item.caption).split())

    if dry_run:
        return sum(changed(item) != item.caption for item in items)
    return _rewrite(dataset, items, changed)


def put_before(folder: Path, prefix: str) -> int:
    """Put words before every caption that does not begin with them.

    Returns:
        Captions changed.

    Raises:
        DatasetError: If there are no words.
    """
    words = " ".join(prefix.split())
    if not words:
        raise DatasetError("no words to put before the captions", todo="Write some")

    def changed(item: Item) -> str:
        return item.caption if item.caption.startswith(words) else f"{words} {item.caption}".strip()

    dataset = Dataset(folder)
    return _rewrite(dataset, dataset.items(), changed)


def _rewrite(dataset: Dataset, items: list[Item], change: Callable[[Item], str]) -> int:
    before = {item.file_name: item.caption for item in items}
    changed = {item.file_name: new for item in items if (new := change(item)) != item.caption}
    return len(changed) - len(dataset.write_captions(changed, before)) if changed else 0
