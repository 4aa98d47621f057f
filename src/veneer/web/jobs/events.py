"""What a run's process told: its events, as far as a page wants to know them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAIL_BYTES = 65_536


@dataclass
class RunLog:
    """The events of a job, summed up.

    Attributes:
        stage: Stage at work; empty before the first.
        total: Units of work of that stage, or None where unknown.
        done: Units done.
        unit: What is counted.
        since: When the stage began, in seconds since 1970.
        finished: Summaries by stage, of the stages that are done.
        held_out: Held-out losses by step, of the weights themselves.
        notices: Notices as (code, message), in order, every code and message once.
        end: How the process ended; empty while it runs, or where it was killed.
    """

    stage: str = ""
    total: int | None = None
    done: int = 0
    unit: str = ""
    since: float = 0.0
    finished: dict[str, str] = field(default_factory=dict)
    held_out: dict[int, float] = field(default_factory=dict)
    notices: list[tuple[str, str]] = field(default_factory=list)
    end: Mapping[str, Any] = field(default_factory=dict)


def read_events(path: Path) -> RunLog:
    """Read a job's events.

    Args:
        path: ``events.jsonl``; a line cut short is left out.

    Returns:
        Their sum; an empty one where there is no file.
    """
    log = RunLog()
    for event in _lines(path):
        match event.get("event"):
            case "StageStarted":
                log.stage, log.total, log.unit = event["stage"], event["total"], event["unit"]
                log.done, log.since = 0, event["time"]
            case "Progress":
                log.done = event["done"]
            case "StageFinished":
                log.finished[event["stage"]] = event["summary"]
                log.stage = "" if log.stage == event["stage"] else log.stage
            case "ValidationEvent" if event["candidate"] == "step":
                log.held_out[event["step"]] = event["loss"]
            case "Notice":
                note = (event["code"], event["message"])
                if note not in log.notices:
                    log.notices.append(note)
            case "Ended":
                log.end = event
    return log


def last_end(path: Path) -> Mapping[str, Any]:
    """Read how a job ended.

    Args:
        path: ``events.jsonl``.

    Returns:
        The last event where it is the end; otherwise empty.
    """
    last: Mapping[str, Any] = {}
    for line in tail(path, 2, 4096):
        last = _parsed(line)
    return last if last.get("event") == "Ended" else {}


def tail(path: Path, lines: int, limit: int = TAIL_BYTES) -> list[str]:
    """The last lines of a text file.

    Args:
        lines: Most lines.
        limit: Most bytes that are read.

    Returns:
        Lines without their ends; empty where there is no file.
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        text = file.read().decode("utf-8", errors="replace")
    return text.splitlines()[-lines:]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if event := _parsed(line):
                yield event


def _parsed(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
