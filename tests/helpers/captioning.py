"""The stage `caption` with a captioner that says what a test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from veneer.captions.captioner import AGAIN, FIRST, Decoding
from veneer.config import CaptionTable
from veneer.records.dataset import Dataset
from veneer.stages.caption import CaptionResult, caption


class Scripted:
    """A captioner that says what the test wants, by the picture's place in the set."""

    def __init__(self, first: list[str], again: list[str] | None = None) -> None:
        self.scripts = {FIRST: first, AGAIN: again or first}
        self.asked: list[tuple[int, Decoding]] = []

    def describe(self, pictures: list[Path], decoding: Decoding) -> list[str]:
        texts = self.scripts[decoding]
        start = sum(n for n, d in self.asked if d is decoding)
        self.asked.append((len(pictures), decoding))
        return texts[start : start + len(pictures)]


GOOD = ["a red house", "a blue fish", "two green trees", "a boat at sea", "an old man", "one black cat"]


def captions(dataset: Dataset) -> list[str]:
    return [item.caption for item in dataset.items()]


def caption_set(dataset: Dataset, **more: Any) -> tuple[CaptionResult, list[Any]]:
    events: list[Any] = []
    table = CaptionTable(**{"model": "m", **more.pop("table", {})})
    return caption(dataset.root, table, events.append, **more), [e for e in events if hasattr(e, "code")]
