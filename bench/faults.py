"""The frame of the fault bench: slices of numbered cases, what came of each, and where that is kept.

A case is a function of its number alone, so that a bench that was stopped goes on where it was, and a case
that failed can be looked at again.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from veneer.errors import VeneerError

Prepare = Callable[[Path], Any]
Try = Callable[[Any, int], str]


class WrongError(Exception):
    """What must never come of a case, such as bytes that differ; its text says what."""


class HangError(BaseException):
    """A case that takes too long; no `Exception`, so that no library takes it for its own."""


@dataclass(frozen=True)
class Slice:
    """Faults of one kind.

    Attributes:
        name: Name, for the command line.
        what: What is done, for the document.
        cases: How many the whole bench does.
        quick: Numbers of the cases that `make test` does.
        prepare: Makes what all cases need, in a folder of its own; once in a process.
        attempt: Does a case by its number and says in a word what came of it; `WrongError` and whatever is
            no `VeneerError` are failures.
        limit_seconds: Longest that a case may take.
    """

    name: str
    what: str
    cases: int
    quick: Sequence[int]
    prepare: Prepare
    attempt: Try
    limit_seconds: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        came: A word: "refused", "read", "the same bytes"; of a failure what it was.
        is_bad: Whether that must never come.
        seconds: Time that it took.
        detail: Of a failure, where it happened.
    """

    slice: str
    number: int
    came: str
    is_bad: bool
    seconds: float
    detail: str = ""


def judge(one: Slice, prepared: Any, number: int) -> Outcome:
    """Do a case.

    Args:
        prepared: What the slice's `prepare` gave.

    Returns:
        What came of it.
    """
    began = time.monotonic()
    came, detail, is_bad = "", "", False
    try:
        with _limited(one.limit_seconds):
            came = one.attempt(prepared, number)
    except VeneerError as error:
        came = "refused"
        is_bad = not str(error).strip()
    except WrongError as error:
        came, detail, is_bad = "wrong", str(error), True
    except HangError:
        came, detail, is_bad = "hang", traceback.format_exc(limit=-6), True
    except Exception as error:
        came, detail, is_bad = f"exit 3: {type(error).__name__}", traceback.format_exc(limit=-6), True
    return Outcome(one.name, number, came, is_bad, round(time.monotonic() - began, 3), detail)


class Prepared:
    """What slices need, made once in a process; slices of one `prepare` share it."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._made: dict[Prepare, Any] = {}

    def __call__(self, one: Slice) -> Any:
        """What a slice needs."""
        if one.prepare not in self._made:
            folder = self._work / one.name
            folder.mkdir(parents=True, exist_ok=True)
            self._made[one.prepare] = one.prepare(folder)
        return self._made[one.prepare]


def go_on(
    slices: Sequence[Slice], work: Path, seconds: float, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Do what is not done yet, each slice in its turn, until the time is over.

    Args:
        work: Folder of what they need and of the outcomes so far.
        tell: Told of every outcome.

    Returns:
        All outcomes, those of earlier commands first.
    """
    kept, until = work / "outcomes.jsonl", time.monotonic() + seconds
    outcomes = read_outcomes(kept)
    prepare = Prepared(work)
    for one, number in _turns(slices, outcomes):
        if time.monotonic() > until:
            break
        outcome = judge(one, prepare(one), number)
        outcomes.append(outcome)
        with kept.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(asdict(outcome)))  # after a line that was cut
        tell(outcome)
    return outcomes


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what earlier commands found; a line that was cut is left out and its case done again."""
    if not path.is_file():
        return []
    outcomes = []
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            outcomes.append(Outcome(**json.loads(line)))
    return outcomes


def table(slices: Iterable[Slice], outcomes: Sequence[Outcome]) -> list[str]:
    """The counts as Markdown.

    Args:
        outcomes: What came of their cases.

    Returns:
        Lines.
    """
    lines = ["| what was done | cases | what came of it | must never come |", "|---|---:|---|---:|"]
    for one in slices:
        own = [outcome for outcome in outcomes if outcome.slice == one.name]
        came = Counter(outcome.came for outcome in own)
        words = ", ".join(f"{word} {count}" for word, count in sorted(came.items())) or "not done"
        bad = sum(outcome.is_bad for outcome in own)
        lines.append(f"| {one.what} (`{one.name}`) | {len(own)} of {one.cases} | {words} | {bad} |")
    bad_ones = [outcome for outcome in outcomes if outcome.is_bad]
    if bad_ones:
        lines += ["", "## What must never come", ""]
    for outcome in bad_ones[:40]:
        last = outcome.detail.strip().splitlines()[-1:] or [""]
        lines.append(f"- `{outcome.slice}` {outcome.number}: {outcome.came}: {last[0][:300]}")
    return [*lines, ""]


def _turns(slices: Sequence[Slice], outcomes: Sequence[Outcome]) -> Iterator[tuple[Slice, int]]:
    """What is left, so that every slice is done in the same share."""
    done = {(outcome.slice, outcome.number) for outcome in outcomes}
    left = [
        ((number + 0.5) / one.cases, place, number)
        for place, one in enumerate(slices)
        for number in range(one.cases)
        if (one.name, number) not in done
    ]
    for _, place, number in sorted(left):
        yield slices[place], number


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def hang(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
