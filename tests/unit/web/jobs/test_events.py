"""What a run says while it goes on, summed up."""

from __future__ import annotations

import json
from pathlib import Path

from veneer.web.jobs.events import read_events


def test_events_are_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [
        {"event": "StageFinished", "stage": "collect", "summary": "4 pictures"},
        {"event": "StageStarted", "stage": "train", "total": 10, "unit": "steps", "time": 5.0},
        {"event": "Progress", "stage": "train", "done": 3},
        {"event": "ValidationEvent", "step": 2, "candidate": "step", "loss": 0.5, "best": True},
        {"event": "Notice", "stage": "train", "code": "x", "message": "m"},
        {"event": "Notice", "stage": "train", "code": "x", "message": "m"},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "Prog')
    log = read_events(path)
    assert (log.stage, log.done, log.total, log.finished) == ("train", 3, 10, {"collect": "4 pictures"})
    assert log.held_out == {2: 0.5}
    assert log.notices == [("x", "m")]
    assert log.end == {}
