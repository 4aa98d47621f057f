"""The one line that tells where a command stands, cut to the width of the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.style import Style

_GAP = "  "
SHORT_BAR, LONG_BAR, LONG_FROM = 10, 24, 120
"""Cells of the bar, and the width of a terminal from which on it is long."""
LEAST_DETAIL = 8
"""Cells below which a detail says nothing."""

_PARTS = ("number", "stage", "bar", "count", "unit", "speed", "time", "detail")
"""What a line may hold, from left to right."""

_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True)
class Status:
    """Where a command stands.

    Attributes:
        number: Which stage of how many, such as "5/9"; empty where there is one.
        done: Units done; None before the first.
        total: Units in all, or None where unknown.
        unit: What is counted.
        speed: How fast.
        time: Time left, or time so far.
        detail: What else there is to say.
    """

    number: str = ""
    stage: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    speed: str = ""
    time: str = ""
    detail: str = ""

    @property
    def count(self) -> str:
        """Units done, of how many."""
        if self.done is None:
            return ""
        return f"{self.done}/{self.total}" if self.total else str(self.done)

    def words(self) -> str:
        """The whole of it, as wide as it comes, without a bar."""
        counted = " ".join(filter(None, (self.count, self.unit if self.count else "")))
        head = " ".join(filter(None, (self.number, self.stage)))
        return _GAP.join(filter(None, (head, counted, self.speed, self.time, one_line(self.detail))))


class StatusLine:
    """A status as wide as the terminal at most: it never wraps.

    What does not fit is left out, the least important first: detail, speed, bar, unit, time, the stage's
    name, its number. The bar pulses where the total is unknown.

    Args:
        status: What to show.
    """

    def __init__(self, status: Status) -> None:
        self._status = status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = console.width - 1  # in the last column some terminals go to the next line
        kept = self._fitting(room, LONG_BAR if room >= LONG_FROM else SHORT_BAR)
        status, end = self._status, "..." if options.ascii_only else "…"
        for place, name in enumerate(name for name in _PARTS if name in kept):
            if place:
                yield Segment(_gap(name))
            if name == "bar":
                bar = ProgressBar(status.total or None, status.done or 0, kept[name])
                yield from _padded(bar.__rich_console__(console, options), kept[name])
            else:
                text = cut(one_line(getattr(status, name)), kept[name], end)
                yield Segment(text, Style(dim=True) if name == "detail" else None)

    def _fitting(self, room: int, bar: int) -> dict[str, int]:
        """Cells of each part that is shown."""
        status = self._status
        wanted = {name: cell_len(getattr(status, name)) for name in ("number", "count", "stage", "time")}
        wanted |= {"unit": cell_len(status.unit) if status.count else 0, "bar": bar if status.stage else 0}
        wanted["speed"] = cell_len(status.speed)
        kept: dict[str, int] = {}
        for name, cells in wanted.items():
            if not cells:
                continue
            gap = len(_gap(name)) if kept else 0
            if cells + gap > room:
                return kept or {name: room}
            kept[name], room = cells, room - cells - gap
        detail = cell_len(one_line(status.detail))
        if detail and room - len(_GAP) >= min(LEAST_DETAIL, detail):
            kept["detail"] = min(detail, room - len(_GAP))
        return kept


def _gap(name: str) -> str:
    """What stands before a part."""
    return " " if name in {"stage", "unit"} else _GAP


def cut(text: str, cells: int, end: str) -> str:
    """Cut a text to a width.

    Args:
        text: One line.
        cells: Cells that it may take, 0 or more.
        end: What stands for the rest.

    Returns:
        The text, or its beginning with the end.
    """
    if cell_len(text) <= cells:
        return text
    if cells <= len(end):
        return set_cell_size(text, max(0, cells))
    return set_cell_size(text, cells - len(end)).rstrip() + end


def one_line(text: str) -> str:
    """Make a text fit to be shown in a line.

    Args:
        text: Anything: a caption, a file's name.

    Returns:
        The text with a space for line ends and for what would steer the terminal.
    """
    return _NOT_SHOWN.sub(" ", text)


def _padded(segments: RenderResult, cells: int) -> list[Segment]:
    """A bar without colours ends where the done part ends."""
    drawn = [segment for segment in segments if isinstance(segment, Segment)]
    missing = cells - sum(segment.cell_length for segment in drawn)
    return [*drawn, Segment(" " * missing)]
