"""Progress on stderr: a last line with stage, speed and time left; plain lines where it is no terminal."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.text import Text

from veneer.cli.liveline import LiveLine
from veneer.cli.statusline import Status, StatusLine, one_line
from veneer.cli.timeleft import Course, Pace, TimeLeft, clock
from veneer.events import Event, Notice, StageFinished, StageStarted, StepEvent
from veneer.events import Progress as ProgressEvent

_NOTICES_SHOWN = 3
"""Notices of one code that are printed; the rest are counted."""

PLAIN_SECONDS = 15.0
"""Seconds between lines where stderr is no terminal."""


class ProgressPrinter:
    """Shows events; use as a context manager, and pass itself as ``on_event``.

    Args:
        quiet: Whether only notices are shown.
        stages: Names of the stages that the command goes through.
        console: Where to print; stderr by default.
    """

    def __init__(
        self, quiet: bool = False, stages: tuple[str, ...] = (), console: Console | None = None
    ) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, force_interactive=_is_screen())
        self._is_main = os.environ.get("RANK", "0") == "0"  # of several processes one speaks
        self._quiet = quiet
        self._live: LiveLine | None = None
        if self.console.is_interactive and self._is_main and not (quiet or self.console.legacy_windows):
            self._live = LiveLine(self.console, lambda: StatusLine(self._status()))
        self._notices: Counter[str] = Counter()
        self._stage, self._pace = "", Pace(None, time.monotonic())
        self.follow(Course(stages))

    def follow(self, course: Course) -> None:
        """Take in what the command goes through, before its first event.

        Args:
            course: Its stages, and what is known of them.
        """
        self._course, self._time_left = course, TimeLeft(course)
        self._begin(course.stages[0] if course.stages else "", None, "")

    def __enter__(self) -> ProgressPrinter:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        for code, count in self._notices.items():
            if count > _NOTICES_SHOWN:
                self._print(f"  note: {count - _NOTICES_SHOWN} more of {code}, all in the report")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case _ if not self._is_main:
                return
            case Notice():
                self._notice(event)
            case _ if self._quiet:
                return
            case StageStarted():
                self._begin(event.stage, event.total, event.unit)
            case ProgressEvent():
                self._advance(event.done, event.detail)
            case StepEvent():
                self._step(event)
            case StageFinished():
                self._finish(event)

    def _notice(self, event: Notice) -> None:
        self._notices[event.code] += 1
        if self._notices[event.code] <= _NOTICES_SHOWN:
            self._print(f"  note: {event.message}")

    def _begin(self, stage: str, total: int | None, unit: str) -> None:
        now = time.monotonic()
        self._pace = Pace(total, self._pace.started if stage == self._stage else now)
        self._stage, self._unit, self._speed, self._detail = stage, unit, "", ""
        self._last_line = now

    def _advance(self, done: int, detail: str) -> None:
        now = time.monotonic()
        self._pace.note(done, now)
        self._detail = detail
        if self._live is None and now - self._last_line > PLAIN_SECONDS:
            self._last_line = now
            self._print(f"  {self._status().words()}")

    def _step(self, event: StepEvent) -> None:
        if not self._speed:  # the first one; what came before it was no step
            self._pace.begin(event.step - 1, time.monotonic() - event.seconds)
        self._time_left.step(event)
        self._speed = _speed(event.images_per_second, " pictures/s", " s a picture")
        self._advance(event.step, f"loss {event.loss:.4f}")

    def _finish(self, event: StageFinished) -> None:
        took = "done before" if event.skipped else f"{event.seconds:.1f} s"
        self._print(f"{self._number(event.stage)}{event.stage:<9} {event.summary} ({took})", indent=10)
        if not event.skipped:
            self._time_left.finish(event.stage, event.seconds)
        stages = (*self._course.stages, "")
        self._begin(stages[stages.index(event.stage) + 1] if event.stage in stages else "", None, "")

    def _status(self) -> Status:
        pace, now = self._pace, time.monotonic()
        each = pace.seconds_per_unit
        return Status(
            number=self._number(self._stage).strip(),
            stage=self._stage,
            done=pace.done,
            total=pace.total,
            unit=self._unit,
            speed=self._speed or ("" if each is None else _speed(1 / each, "/s", " s each")),
            time=self._time(now) if self._stage else "",
            detail=self._detail,
        )

    def _time(self, now: float) -> str:
        """Time left over all stages or, where that is unknown, of this one; or else the time so far."""
        seconds = self._time_left.all_stages(self._stage, self._pace, now)
        if seconds is not None and seconds > 0:
            return f"{clock(seconds)} left"
        seconds = self._pace.left(now)
        if seconds is not None:
            return f"{clock(seconds)} left" + (f" in {self._stage}" if self._number(self._stage) else "")
        return f"{clock(now - self._pace.started)} so far"

    def _number(self, stage: str) -> str:
        stages = self._course.stages
        return f"{stages.index(stage) + 1}/{len(stages)} " if stage in stages and len(stages) > 1 else ""

    def _print(self, line: str, indent: int = 4) -> None:
        """Print a line; on a terminal it is wrapped between words, so that it can be read."""
        width, text = self.console.width, one_line(line)
        if self.console.is_interactive and len(text) > width:
            begins = " " * (indent if width >= 60 else 2)
            text = textwrap.fill(
                text, width, subsequent_indent=begins, break_long_words=False, break_on_hyphens=False
            )
        self.console.print(Text(text), soft_wrap=True)


def _speed(per_second: float, fast: str, slow: str) -> str:
    if per_second <= 0:
        return ""
    return f"{per_second:.1f}{fast}" if per_second >= 1 else f"{1 / per_second:.1f}{slow}"


def _is_screen() -> bool | None:
    """False where stderr is no terminal, whatever the environment says of colours."""
    return None if sys.stderr is not None and sys.stderr.isatty() else False
