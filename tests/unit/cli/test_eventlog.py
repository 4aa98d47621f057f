"""What `veneer run --events FILE` writes down."""

import json
from pathlib import Path
from typing import Any

import pytest

from veneer.cli.eventlog import EventLog
from veneer.errors import RunError
from veneer.events import Notice, Progress, StageStarted, StepEvent


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_are_passed_on_and_written(tmp_path: Path) -> None:
    heard: list[Any] = []
    with EventLog(tmp_path / "events.jsonl", heard.append) as on_event:
        on_event(StageStarted("train", 3, "steps"))
        on_event(StepEvent(1, 0.5, 1e-4, 1.0, 1.0, 8.0, 0.1))
        on_event(Progress("train", 1))
        on_event(Progress("train", 2))
        on_event(Notice("train", "x", "y"))
    assert len(heard) == 5
    written = lines(tmp_path / "events.jsonl")
    assert [event["event"] for event in written] == ["StageStarted", "Progress", "Notice", "Ended"]
    assert written[-1]["status"] == 0


@pytest.mark.parametrize(
    ("error", "status", "todo"),
    [
        (RunError("no", where="here", todo="mend it"), 1, "mend it"),
        (KeyboardInterrupt(), 130, None),
        (KeyError("x"), 3, None),
    ],
)
def test_the_end_tells_why(tmp_path: Path, error: Exception, status: int, todo: str | None) -> None:
    with pytest.raises(type(error)), EventLog(tmp_path / "events.jsonl", print):
        raise error
    (end,) = lines(tmp_path / "events.jsonl")
    assert (end["event"], end["status"], end.get("todo")) == ("Ended", status, todo)


def test_without_a_file_events_are_passed_on_only(tmp_path: Path) -> None:
    heard: list[Any] = []
    with EventLog(None, heard.append) as on_event:
        on_event(StageStarted("train"))
    assert len(heard) == 1
    assert list(tmp_path.iterdir()) == []
