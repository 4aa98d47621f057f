"""What the process gets from outside, put in order before a verb runs: streams, signals, chatty libraries."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Any, TextIO

from veneer.text import shown

QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Bars of libraries, which know nothing of our own, and a warning about processes that we start."""


class Signals:
    """Ctrl-C and SIGTERM as `KeyboardInterrupt`, and remembered.

    A library that is interrupted while it is loaded may raise something else instead.

    Attributes:
        is_interrupted: Whether one came.
    """

    def __init__(self) -> None:
        self.is_interrupted = False

    def watch(self) -> None:
        """Listen from now on; what the caller told the process to ignore stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) is usual:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_interrupted = True
        raise KeyboardInterrupt


class Unfailing(io.TextIOBase):
    """A stream for messages: where it breaks (a closed pipe, a terminal that is gone), nothing is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write, or do nothing.

        Returns:
            Its length.
        """
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def fileno(self) -> int:
        """Number of the file below."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()


class Harmless(Unfailing):
    """A stream for results: what would steer a terminal is written out; where it breaks, it breaks."""

    def write(self, text: str) -> int:
        """Write.

        Returns:
            Its length.
        """
        self._stream.write(shown(text))
        return len(text)

    def flush(self) -> None:
        """Flush."""
        self._stream.flush()


def mend_streams() -> None:
    """Give the process all three streams, and a stderr that never ends a run.

    A closed one (``2>&-``) would be None in Python, and its number the next file's that is opened: what a
    library then prints would go into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a caption that an old locale cannot write
    sys.stdout = Harmless(sys.stdout)
    sys.stderr = Unfailing(sys.stderr)


def is_unread(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe whose reader has gone (``| head -1``).

    Args:
        stream: Standard output.

    Returns:
        True where it is; where the system cannot tell, False.
    """
    if stream is None or not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def lead_nowhere(stream: TextIO) -> None:
    """Drop what a stream could not write, and what comes.

    Args:
        stream: Standard output.
    """
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def hush_libraries() -> None:
    """Let no library print warnings or bars between our lines; errors still come.

    What the user must know is a `Notice`. ``python -W`` and ``PYTHONWARNINGS`` are respected.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.disable(logging.WARNING)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
