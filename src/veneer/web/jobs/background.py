"""Stages called by a button: in a thread, their progress told to the page as it comes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from veneer.events import Event, Notice, OnEvent, Progress, StageStarted
from veneer.web import markup
from veneer.web.messages import describe

_SECONDS_BETWEEN = 0.4
_NOTICES_SHOWN = 5


@dataclass
class Outcome:
    """What became of a call.

    Attributes:
        result: What it returned; None where it failed or goes on.
        error: What it raised.
        notices: What it noticed, each message once.
    """

    result: Any = None
    error: BaseException | None = None
    notices: list[str] = field(default_factory=list)

    def message(self, summary: str) -> str:
        """The call's end for people.

        Returns:
            HTML: the summary or the error, and what was noticed.
        """
        told = describe(self.error) if self.error is not None else markup.news(summary, "good")
        more = len(self.notices) - _NOTICES_SHOWN
        told += "".join(markup.news(text, "warn") for text in self.notices[:_NOTICES_SHOWN])
        return told + (markup.news(f"and {more} more notes", "warn") if more > 0 else "")


def watched(work: Callable[[OnEvent], Any], outcome: Outcome) -> Iterator[str]:
    """Do something in a thread, and tell how far it is. It goes on where the page is closed.

    Args:
        work: Called with a listener for its events.
        outcome: Filled in by the end.

    Yields:
        HTML: a bar with what is done.
    """
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def call() -> None:
        try:
            outcome.result = work(events.put)
        except Exception as error:
            outcome.error = error
        finally:
            events.put(None)

    threading.Thread(target=call, name="veneer-stage", daemon=True).start()
    started = StageStarted("", None, "")
    yield bar("starting", 0, None)
    last = 0.0
    while (event := events.get()) is not None:
        match event:
            case StageStarted():
                started = event
            case Notice() if event.message not in outcome.notices:
                outcome.notices.append(event.message)
            case Progress() if time.monotonic() - last > _SECONDS_BETWEEN:
                last = time.monotonic()
                yield bar(f"{event.stage}: {event.done} {started.unit}", event.done, started.total)


def bar(label: str, done: int, total: int | None) -> str:
    """A bar of progress.

    Args:
        label: What is done.
        done: How much.
        total: Of how much; None where unknown.

    Returns:
        HTML.
    """
    text = markup.escaped(label)
    value = f'max="{total}" value="{min(done, total)}"' if total else ""
    inner = f'<p class="v-doing">{text}</p><progress {value} aria-label="{text}"></progress>'
    return f'<div class="v-run" role="status">{inner}</div>'
