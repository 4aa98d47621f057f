"""Terminals for the tests: a pseudo-terminal around this process or another, and a screen that reads it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

from rich.cells import cell_len

CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """What a person sees: rows of text, wrapped where a line is too long; bytes that it does not know fail.

    Attributes:
        rows: The rows so far, older ones included.
        is_cursor_shown: Whether the cursor can be seen.
        num_wrapped: How often a line went over the right margin.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = self.num_wrapped = 0
        self.is_cursor_shown = True

    def feed(self, text: str) -> Screen:
        at = 0
        while at < len(text):
            found = CONTROL.match(text, at)
            if found is not None:
                self._control(*found.groups())
                at = found.end()
                continue
            self._put(text[at])
            at += 1
        return self

    def text(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]

    def _control(self, numbers: str, letter: str) -> None:
        match numbers, letter:
            case ("", "J"):
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 :]
            case ("?25", "l" | "h"):
                self.is_cursor_shown = letter == "h"
            case (_, "m"):
                pass
            case other:
                raise AssertionError(f"an unknown sequence: {other}")

    def _put(self, character: str) -> None:
        match character:
            case "\r":
                self.column = 0
            case "\n":
                self._next_row()
            case "\x1b":
                raise AssertionError("a sequence cut in two")
            case _:
                cells = cell_len(character)
                if self.column + cells > self.columns:
                    self.num_wrapped += 1
                    self.column = 0
                    self._next_row()
                row = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
                self.column += cells

    def _next_row(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")


def frames(text: str) -> list[str]:
    """Every drawing of the last line, without colours; a line of ours never holds another's."""
    parts = [part.rpartition("\n")[2].partition("\r")[0] for part in text.split("\r\x1b[J")[1:]]
    return [CONTROL.sub("", part) for part in parts]


class Pseudo:
    """A pseudo-terminal, read by a thread."""

    def __init__(self, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns)
        self.child: subprocess.Popen[bytes] | None = None
        self._bytes = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    @property
    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")

    def wait_for(self, words: str, *, after: int = 0, seconds: float = 120.0) -> None:
        """Wait until these words were written, after so many characters."""
        end = time.monotonic() + seconds
        while words not in self.text[after:]:
            is_alive = self.child is None or self.child.poll() is None
            assert is_alive and time.monotonic() < end, f"no {words!r} in {frames(self.text)[-3:]}"
            time.sleep(0.02)

    def close(self) -> None:
        """Read what is left, and close both ends."""
        os.close(self.slave)
        self._reader.join(10)
        os.close(self.master)

    def _read(self) -> None:
        while True:
            try:
                got = os.read(self.master, 65536)
            except OSError:  # nobody has the other end any more
                return
            if not got:
                return
            self._bytes += got


@contextlib.contextmanager
def around_this_process(columns: int, numbers: tuple[int, ...] = (0, 1, 2)) -> Iterator[Pseudo]:
    """Make standard streams of this process a terminal; the others stay as they are."""
    terminal, names = Pseudo(columns), ("stdin", "stdout", "stderr")
    kept_files = {number: os.dup(number) for number in numbers}
    kept_streams = {number: getattr(sys, names[number]) for number in numbers}
    for number in numbers:
        os.dup2(terminal.slave, number)
        stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, names[number], stream)
    try:
        yield terminal
    finally:
        for number in numbers:
            if number:
                getattr(sys, names[number]).flush()
            setattr(sys, names[number], kept_streams[number])
            os.dup2(kept_files[number], number)
            os.close(kept_files[number])
        terminal.close()


def in_terminal(
    arguments: list[str], columns: int, *, act: Callable[[Pseudo, int], None] | None = None, **env: str
) -> tuple[int, str]:
    """Run ``python -m veneer`` in its own terminal: the exit status as a shell gives it, and all it wrote."""
    terminal = Pseudo(columns)

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = terminal.child = subprocess.Popen(
        [sys.executable, "-m", "veneer", *arguments],
        stdin=terminal.slave,
        stdout=terminal.slave,
        stderr=terminal.slave,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", **env},
        preexec_fn=take_terminal,  # noqa: PLW1509 - so that Ctrl-C reaches it
    )
    try:
        if act is not None:
            act(terminal, child.pid)
        status = child.wait(180)
    finally:
        child.kill()
        child.wait()
        terminal.close()
    # Python itself dies of the signal where Ctrl-C met it in `exec`, as dataclasses use it: 130 in a shell.
    return (128 - status if status < 0 else status), terminal.text
