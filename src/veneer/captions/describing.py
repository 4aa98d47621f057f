"""Pictures described in batches by one captioner, in this process or in one of many.

Which pictures share a batch is decided by who asks: on some machines a text depends on its batch's company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from veneer import machine
from veneer.captions import STAGE
from veneer.captions.captioner import Captioner, Decoding, load_captioner
from veneer.captions.tagger import Tagger, load_tagger
from veneer.config import CaptionTable
from veneer.data.picture import load_small
from veneer.data.worker import Failure, Workers, processes_for
from veneer.events import Notice
from veneer.hubnames import is_tagger

_LONGEST_SIDE_PX = 1024
"""Pictures are handed to the captioner no larger than this; captioners look at 224 to 768 pixels."""


@dataclass(frozen=True)
class Described:
    """What a captioner wrote of a batch.

    Attributes:
        texts: Name and text of each picture that could be read.
        told: Which could not.
    """

    texts: tuple[tuple[str, str], ...] = ()
    told: tuple[Notice, ...] = ()


Describe = Callable[[Sequence[Sequence[str]], Decoding], Iterator[Described]]
"""Describes batches of pictures by their names, in order."""


class Describer:
    """A captioner, and the folder whose pictures it describes.

    Args:
        root: The data set's folder.
        table: Which captioner.
        processes: Processes that decode pictures; 0 for as many as there is work for.

    Raises:
        CaptionerError: If the captioner cannot be loaded.
    """

    def __init__(self, root: Path, table: CaptionTable, processes: int = 0) -> None:
        self._root = root
        self._writes_tags = is_tagger(table.model)
        self._processes = processes
        self._captioner: Captioner | Tagger = (
            load_tagger(table.model, table)
            if self._writes_tags
            else load_captioner(table.model, machine.pick_device())
        )

    def __call__(self, batches: Sequence[Sequence[str]], decoding: Decoding) -> Iterator[Described]:
        """Describe batches of pictures by their names, in order."""
        number_of = {name: number for number, batch in enumerate(batches) for name in batch}
        count = self._processes or processes_for(len(number_of))
        with Workers(load_small, count=count) as workers:
            loaded = workers.map((name, (self._root / name, _LONGEST_SIDE_PX)) for name in number_of)
            for _, batch in groupby(loaded, key=lambda one: number_of[one[0]]):
                yield self._describe(list(batch), decoding)

    def _describe(self, batch: Sequence[tuple[str, Image.Image | Failure]], decoding: Decoding) -> Described:
        names = [name for name, picture in batch if not isinstance(picture, Failure)]
        pictures = [picture for _, picture in batch if not isinstance(picture, Failure)]
        told = tuple(_unreadable(name, one) for name, one in batch if isinstance(one, Failure))
        if not pictures:
            return Described(told=told)
        asked = () if self._writes_tags else (decoding,)
        texts = self._captioner.describe(pictures, *asked)
        return Described(tuple(zip(names, texts, strict=True)), told)


def _unreadable(name: str, failure: Failure) -> Notice:
    message = f"{name}: {failure.reason}; take it out with `veneer check --apply`"
    return Notice(STAGE, "picture-unreadable", message)
