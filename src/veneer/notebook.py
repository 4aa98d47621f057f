"""Progress in a notebook: one line that renews itself under the cell, with no widgets.

It is what the Python names do by themselves where nobody passes ``on_event``; outside of a notebook nothing
is shown. The notebook's own display is asked, so that nothing has to be installed for it.
"""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from veneer.events import Event, Notice, Progress, StageFinished, StageStarted, StepEvent

RENEWED_SECONDS = 0.25
"""Least time between two looks of the line, in seconds."""
NOTICES_SHOWN = 5


def shell() -> Any | None:
    """The notebook's shell; None where this is no notebook."""
    module = sys.modules.get("IPython")
    found = module.get_ipython() if module is not None else None
    return found if hasattr(found, "kernel") else None


class NotebookProgress:
    """A listener for events: what is done above, what goes on in the last line."""

    def __init__(self) -> None:
        self._cell: object = None
        self._handle: Any = None
        self._total: int | None = None
        self._forget()

    def __call__(self, event: Event) -> None:
        """Show one event; nothing outside of a notebook."""
        notebook = shell()
        if notebook is None:
            return
        cell = getattr(notebook, "execution_count", None)
        if cell != self._cell or self._handle is None:
            self._forget()
            self._cell, self._handle = cell, _display(self._page())
        if self._take(event):
            self._handle.update(_html(self._page()))
            self._shown = time.monotonic()

    def _forget(self) -> None:
        self._handle, self._total = None, None
        self._lines: list[str] = []
        self._now, self._unit = "", ""
        self._started, self._shown, self._notices = time.monotonic(), 0.0, 0

    def _take(self, event: Event) -> bool:
        """Take an event in; whether it has to be shown at once."""
        match event:
            case StageStarted():
                self._now, self._unit, self._total = event.stage, event.unit, event.total
                self._started = time.monotonic()
            case StageFinished():
                took = "done before" if event.skipped else f"{event.seconds:.1f} s"
                self._lines.append(f"{event.stage}: {event.summary} ({took})")
                self._now = ""
            case Notice():
                self._notices += 1
                if self._notices <= NOTICES_SHOWN:
                    self._lines.append(f"note: {event.message}")
            case Progress():
                return self._advance(event.stage, event.done, event.detail)
            case StepEvent():
                return self._advance("train", event.step, f"loss {event.loss:.4f}")
            case _:
                return False
        return True

    def _advance(self, stage: str, done: int, detail: str) -> bool:
        of = f"{done}/{self._total}" if self._total else str(done)
        seconds = time.monotonic() - self._started
        self._now = f"{stage}: {of} {self._unit}, {seconds:.0f} s so far{', ' + detail if detail else ''}"
        return time.monotonic() - self._shown > RENEWED_SECONDS

    def _page(self) -> str:
        more = self._notices - NOTICES_SHOWN
        last = [f"{more} more notes, all in the report"] if more > 0 else []
        lines = [html.escape(line) for line in (*self._lines, *last, self._now) if line]
        return f'<pre style="white-space:pre-wrap">{"<br>".join(lines)}</pre>'


def _html(text: str) -> Any:
    return sys.modules["IPython"].display.HTML(text)


def _display(text: str) -> Any:
    return sys.modules["IPython"].display.display(_html(text), display_id=True)


in_notebook = NotebookProgress()
"""The listener that the Python names have by themselves."""
