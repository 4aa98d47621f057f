"""Slower steps are told once; single ones, and those to warm up, never."""

from __future__ import annotations

import pytest

from veneer.events import Event, Notice, StepEvent
from veneer.training.step.pace import FIRST_STEPS_IGNORED, WINDOW, SlowdownWatch


def told(seconds: list[float]) -> list[str]:
    events: list[Event] = []
    pace = SlowdownWatch(events.append)
    for step, taken in enumerate(seconds, start=1):
        pace(StepEvent(step, 0.1, 1e-4, 1.0, 1.0, 2 / taken, taken))
    assert len([event for event in events if isinstance(event, StepEvent)]) == len(seconds)
    return [event.message for event in events if isinstance(event, Notice)]


WARM = [9.0] * FIRST_STEPS_IGNORED


def test_a_run_that_becomes_slower_says_so_once() -> None:
    messages = told(WARM + [0.1] * WINDOW + [0.1, 0.2, 0.2, 0.2] * WINDOW)
    assert len(messages) == 1
    assert "0.2 s at step 450" in messages[0]
    assert "0.1 s at the start" in messages[0]


@pytest.mark.parametrize(
    "steps",
    [
        [0.1] * 4 * WINDOW,
        [0.1, 0.1, 5.0] * 2 * WINDOW,
        [0.2] * WINDOW + [0.1] * WINDOW,
        [0.1] * WINDOW + [1.0] * 9,
    ],
)
def test_a_steady_run_says_nothing(steps: list[float]) -> None:
    assert told(WARM + steps) == []
