"""Progress on stderr: a bar with stage, speed and time left; plain lines where stderr is no terminal."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from veneer.events import Event, Notice, StageFinished, StageStarted, StepEvent
from veneer.events import Progress as ProgressEvent

NOTICES_SHOWN = 3
"""Notices of one code that are printed; the rest are counted."""

PLAIN_SECONDS = 15.0
"""Seconds between lines where stderr is no terminal."""


class ProgressPrinter:
    """Shows events; use as a context manager, and pass itself as ``on_event``.

    Args:
        quiet: Whether only notices are shown.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
            transient=True,
        )
        self._quiet = quiet
        self._is_main = os.environ.get("RANK", "0") == "0"  # of several processes one speaks
        self._plain = not self.console.is_terminal
        self._task: TaskID | None = None
        self._total = 0
        self._unit = ""
        self._started = self._first = time.monotonic()
        self._last_line = 0.0
        self._base: int | None = None
        self._notices: Counter[str] = Counter()

    def __enter__(self) -> ProgressPrinter:
        if not self._quiet and not self._plain and self._is_main:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars.live.is_started:
            self._bars.stop()
        for code, count in self._notices.items():
            if count > NOTICES_SHOWN:
                self.console.print(f"  note: {count - NOTICES_SHOWN} more of {code}, all in the report")

    def __call__(self, event: Event) -> None:
        """Show one event.

        Args:
            event: The event.
        """
        match event:
            case _ if not self._is_main:
                return
            case Notice():
                self._notice(event)
            case _ if self._quiet:
                return
            case StageStarted():
                self._start(event)
            case ProgressEvent():
                self._advance(event.done, event.detail)
            case StepEvent():
                detail = f"loss {event.loss:.4f}"
                self._advance(event.step, detail, f"{event.images_per_second:.1f} pictures/s")
            case StageFinished():
                self._finish(event)

    def _notice(self, event: Notice) -> None:
        self._notices[event.code] += 1
        if self._notices[event.code] <= NOTICES_SHOWN:
            self.console.print(f"  note: {event.message}", markup=False)

    def _start(self, event: StageStarted) -> None:
        self._total, self._unit = event.total or 0, event.unit
        self._started, self._base, self._last_line = time.monotonic(), None, time.monotonic()
        if self._plain:
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(event.stage, total=event.total, unit=event.unit, speed="", detail="")

    def _advance(self, done: int, detail: str, speed: str = "") -> None:
        now = time.monotonic()
        if self._base is None:
            self._base, self._first = done, now
        elif not speed and now > self._first:
            speed = f"{(done - self._base) / (now - self._first):.1f}/s"
        if self._task is not None:
            self._bars.update(self._task, completed=done, detail=detail, speed=speed)
        elif self._plain and now - self._last_line > PLAIN_SECONDS:
            self._last_line = now
            self.console.print(
                f"  {done}/{self._total or '?'} {self._unit} {speed} {detail}{self._left(done, now)}",
                markup=False,
            )

    def _left(self, done: int, now: float) -> str:
        fresh = done - (self._base or 0)
        if not self._total or fresh <= 0:
            return ""
        seconds = (now - self._first) / fresh * (self._total - done)
        return f", {seconds:.0f} s left"

    def _finish(self, event: StageFinished) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        took = "done before" if event.skipped else f"{event.seconds:.1f} s"
        self.console.print(f"{event.stage:<9} {event.summary} ({took})", markup=False)
