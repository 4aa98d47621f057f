"""A last line of the terminal that is drawn again and again, while other lines are printed above it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import TextIO, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.segment import ControlType, Segment

DRAWN_PER_SECOND = 5.0


class LiveLine(RenderHook):
    """The last line of a terminal.

    After each drawing the cursor goes back to the line's beginning, and each drawing first clears from there
    to the end of the screen. So it does not matter whether a terminal that was made narrower has wrapped
    the line meanwhile, and whoever prints begins at the margin.

    Args:
        console: A console that is a terminal.
        draw: Gives the line, narrower than the console.
    """

    def __init__(self, console: Console, draw: Callable[[], ConsoleRenderable]) -> None:
        self._console = console
        self._draw = draw
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._own: list[tuple[str, TextIO]] = []
        self._drawing = threading.Thread(target=self._keep_drawing, name="veneer-progress", daemon=True)

    def start(self) -> None:
        """Show the line, and send what libraries print above it."""
        try:
            self._redirect()
            self._console.push_render_hook(self)
            self._drawing.start()
        except BaseException:  # Ctrl-C; nobody calls `stop` for what has not begun
            self.stop()
            raise

    def stop(self) -> None:
        """Take the line away, and give the cursor back."""
        with self._lock:
            self._ended.set()
            try:
                with contextlib.suppress(IndexError):  # stopped before it began
                    self._console.pop_render_hook()
                self._console.print(_Raw("\r\x1b[J"), end="")
            finally:
                self._console.show_cursor(True)
                for name, stream in self._own:
                    setattr(sys, name, stream)

    def refresh(self) -> None:
        """Draw the line as it is now."""
        with self._lock:
            if not self._ended.is_set():
                self._console.print(Control())

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put the line below what is printed.

        Returns:
            The same, after the old line is cleared and before the new one.
        """
        if self._ended.is_set():
            return renderables
        return [_Raw("\r\x1b[J"), *renderables, self._draw(), _Raw("\r\x1b[?25l")]  # without a cursor

    def _keep_drawing(self) -> None:
        while not self._ended.is_set():
            self.refresh()
            self._ended.wait(1 / DRAWN_PER_SECOND)

    def _redirect(self) -> None:
        """A stream that is no terminal goes where it went: nothing of it is seen here."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if self._console.file is sys.__dict__.get("stderr") and stream is not None and stream.isatty():
                self._own.append((name, stream))
        for name, stream in self._own:
            setattr(sys, name, cast("TextIO", FileProxy(self._console, stream)))


class _Raw:
    """Characters that steer the terminal, as they are."""

    def __init__(self, characters: str) -> None:
        self._segment = Segment(characters, None, [(ControlType.CARRIAGE_RETURN,)])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._segment
