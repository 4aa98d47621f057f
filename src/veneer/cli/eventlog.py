"""Events as lines of JSON, for other programs that watch a run (``veneer run --events FILE``).

Each line is an object with the event's kind ("StageStarted", "Progress", ...), the second it happened, and
its fields. The last line has the kind "Ended"; a process that was killed leaves none.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from veneer.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, VeneerError
from veneer.events import Event, OnEvent, Progress, StepEvent

_SECONDS_BETWEEN = 0.5
"""Least seconds between two lines of progress; steps are in `train/log.jsonl` already."""


class EventLog:
    """Passes events on, and writes them down; use as a context manager.

    Args:
        path: The file, appended to; None to write nothing.
    """

    def __init__(self, path: Path | None, on_event: OnEvent) -> None:
        self._path = path
        self._on_event = on_event
        self._file: TextIO | None = None
        self._last = 0.0

    def __enter__(self) -> EventLog:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("Ended", _end(error))
        if self._file is not None:
            self._file.close()

    def __call__(self, event: Event) -> None:
        """Pass an event on and write it down."""
        self._on_event(event)
        if isinstance(event, StepEvent):
            return
        if isinstance(event, Progress):
            if time.monotonic() - self._last < _SECONDS_BETWEEN:
                return
            self._last = time.monotonic()
        self._write(type(event).__name__, dataclasses.asdict(event))

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps({"event": kind, "time": time.time(), **fields}, default=str) + "\n")
        self._file.flush()


def _end(error: BaseException | None) -> dict[str, Any]:
    match error:
        case None:
            return {"status": EXIT_DONE}
        case VeneerError():
            parts = {"what": error.what, "where": error.where, "todo": error.todo}
            return {"status": error.exit_status, **parts}
        case KeyboardInterrupt():
            return {"status": EXIT_INTERRUPTED, "what": "interrupted"}
        case OSError():
            return {"status": EXIT_BUG, "what": str(error), "where": str(error.filename or "")}
    return {"status": EXIT_BUG, "what": f"{type(error).__name__}: {error}"}
