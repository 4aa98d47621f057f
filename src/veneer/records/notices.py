"""What a stage said that is not done yet: RUN/.notices.jsonl, so that a stop loses none of it.

A stage that was stopped says much of it again when it goes on. What is recorded in the end is what it would
have said in one go: each message as often as the attempt did that said it most often.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from veneer.errors import DatasetError
from veneer.events import Notice
from veneer.records.files import Record, write_text
from veneer.records.jsonlines import append_lines, drop_torn_line, json_line, read_lines
from veneer.records.run import CountedNotice, RunDir

Told = Counter[tuple[str, str]]
"""How often each code was said with each message, in the order in which they came first."""


class NoticeLine(Record):
    """One notice."""

    stage: str
    settings: str
    """Hash of what the stage's result depends on."""
    attempt: int
    code: str
    message: str


class Notices:
    """What one stage says, now and in attempts that were stopped.

    Args:
        settings: Hash of what the result depends on; what was said with other settings is forgotten.
        keeps: Whether this process writes it down; the main one does.
    """

    def __init__(self, run: RunDir, stage: str, settings: str, *, keeps: bool = True) -> None:
        self._run, self._stage, self._settings, self._keeps = run, stage, settings, keeps
        attempts: defaultdict[int, Told] = defaultdict(Counter)
        for line in _lines(run):
            if (line.stage, line.settings) == (stage, settings):
                attempts[line.attempt][line.code, line.message] += 1
        self._before: Told = Counter()
        for told in attempts.values():
            self._before |= told
        self._now: Told = Counter()
        self._attempt = max(attempts, default=0) + 1

    def add(self, notice: Notice) -> None:
        """Take down what was said just now; of what passes, nothing is left for a next attempt."""
        self._now[notice.code, notice.message] += 1
        if not self._keeps or notice.is_passing:
            return
        line = NoticeLine(
            stage=self._stage,
            settings=self._settings,
            attempt=self._attempt,
            code=notice.code,
            message=notice.message,
        )
        append_lines(_path(self._run), [line.model_dump()])

    def counted(self) -> tuple[CountedNotice, ...]:
        """All of it by code, each with the first of its messages."""
        told = self._before | self._now
        counts: Counter[str] = Counter()
        for (code, _), count in told.items():
            counts[code] += count
        first = dict(reversed(told))
        return tuple(CountedNotice(code=code, count=n, message=first[code]) for code, n in counts.items())


def forget_notices(run: RunDir, stage: str) -> None:
    """Let go of what a stage said: it is done and recorded, or starts from nothing."""
    if not _path(run).is_file():
        return
    lines = list(_lines(run))
    left = [line for line in lines if line.stage != stage]
    if left:
        write_text(_path(run), "".join(json_line(line.model_dump()) for line in left))
    else:
        _path(run).unlink(missing_ok=True)


def _lines(run: RunDir) -> Iterable[NoticeLine]:
    """What is there; a damaged file tells nothing, as it holds nothing that a result depends on."""
    drop_torn_line(_path(run))
    try:
        return [NoticeLine.model_validate(line) for line in read_lines(_path(run))]
    except (DatasetError, ValidationError):
        return []


def _path(run: RunDir) -> Path:
    return run.root / ".notices.jsonl"
