"""Ctrl-C, SIGTERM and SIGHUP while training: the step at hand is finished and saved; a second does not wait.

SIGHUP comes when a terminal is closed or a connection breaks.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from veneer.events import Notice, OnEvent

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""The last one does not exist on Windows."""


@dataclass
class Interruption:
    """Whether the user, or the machine's scheduler, asked to stop.

    Attributes:
        is_asked: True from the first signal on.
    """

    is_asked: bool = False


@contextlib.contextmanager
def watch_signals(on_event: OnEvent) -> Iterator[Interruption]:
    """Catch the first Ctrl-C, SIGTERM or SIGHUP inside the block; outside the main thread nothing is caught.

    Yields:
        Whether there was a signal.
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_asked:
            raise KeyboardInterrupt
        asked.is_asked = True
        notice = Notice(
            "train", "interrupted", "finishing this step and saving; once more stops at once", True
        )
        # In a thread: whoever was printing when the signal came holds its lock until the handler returns.
        threading.Thread(target=on_event, args=(notice,), daemon=True).start()

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    # A signal that is ignored from outside stays so: nohup means it.
    wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
