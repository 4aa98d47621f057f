"""Whether steps become slower while a run goes on: heat, other programs, memory that is swapped."""

from __future__ import annotations

from collections import deque
from statistics import median

from veneer.events import Event, Notice, OnEvent, StepEvent
from veneer.training import STAGE

FIRST_STEPS_IGNORED = 50
WINDOW = 200
"""Steps of a median, at the start and now."""
SLOWER = 1.3


class SlowdownWatch:
    """Hands on the events of training, and adds one where steps take far longer than at the start.

    The median of the latest steps is held against that of the first ones, after some to warm up, so that
    validations, recordings and single slow steps do not count.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._seen = 0
        self._latest: deque[float] = deque(maxlen=WINDOW)
        self._first: float | None = None
        self._is_notified = False

    def __call__(self, event: Event) -> None:
        """Hand on an event."""
        self._on_event(event)
        if isinstance(event, StepEvent):
            self._count(event)

    def _count(self, event: StepEvent) -> None:
        self._seen += 1
        if self._seen <= FIRST_STEPS_IGNORED:
            return
        self._latest.append(event.seconds)
        if (self._seen - FIRST_STEPS_IGNORED) % WINDOW:
            return
        now = median(self._latest)
        if self._first is None:
            self._first = now
        elif now > SLOWER * self._first and not self._is_notified:
            self._is_notified = True
            message = (
                f"steps take {now:.3g} s at step {event.step}, and took {self._first:.3g} s at the start"
            )
            self._on_event(Notice(STAGE, "slower", message, True))
