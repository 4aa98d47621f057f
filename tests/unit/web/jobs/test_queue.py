"""Runs as processes: queued, found again, stopped and told apart from killed ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from veneer.errors import VeneerError
from veneer.web.jobs.events import read_events, tail
from veneer.web.jobs.queue import JobBook
from veneer.web.workspace import Workspace

# A stand-in for the command line: it writes events as `veneer run --events` does, and obeys Ctrl-C.
FAKE = """
import json, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # as veneer.cli.child does
out = open(sys.argv[sys.argv.index("--events") + 1], "a")
say = lambda **e: (out.write(json.dumps({"time": time.time(), **e}) + chr(10)), out.flush())
recipe = sys.argv[2]
try:
    say(event="StageStarted", stage="train", total=10, unit="steps")
    print("hello from", recipe, flush=True)
    time.sleep(0.2 if recipe not in ("slow", "mute") else 600)
    if recipe == "bad":
        say(event="Ended", status=1, what="no pictures", where="x", todo="add some")
        sys.exit(1)
    say(event="Ended", status=0)
except KeyboardInterrupt:
    if recipe == "mute":
        raise
    say(event="Ended", status=130, what="interrupted")
    sys.exit(130)
"""


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobBook]:
    place = Workspace(tmp_path / "workspace")
    place.create()
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    real = JobBook._start
    starter = tmp_path / "python"
    starter.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{script}" "$@"\n')
    starter.chmod(0o755)

    def start(self: Any, job: Any) -> None:
        monkeypatch.setattr(sys, "executable", str(starter))
        real(self, job)

    monkeypatch.setattr(JobBook, "_start", start)
    found = JobBook(place)
    yield found
    for job in found.jobs():
        if found.state(job.name) == "running" and job.pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
                os.kill(job.pid, signal.SIGKILL)


def until(book: JobBook, name: str, state: str, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while book.state(name) != state:
        assert time.monotonic() < end, book.state(name)
        time.sleep(0.05)


def until_it_works(book: JobBook, name: str, seconds: float = 200) -> None:
    """Wait until the stand-in is where Ctrl-C is caught."""
    end = time.monotonic() + seconds
    while not tail(book.log(name), 1):
        assert time.monotonic() < end, book.state(name)
        time.sleep(0.05)


def test_a_run_is_done(book: JobBook) -> None:
    job = book.ask("a", "quick", "runs/a")
    assert job.arguments == ["run", "quick", "--out", "runs/a"]
    until(book, "a", "done")
    assert tail(book.log("a"), 5) == ["hello from quick"]


def test_a_failure_tells_what_and_what_to_do(book: JobBook) -> None:
    book.ask("a", "bad", "runs/a")
    until(book, "a", "failed")
    assert read_events(book.events("a")).end["todo"] == "add some"


def test_runs_wait_for_each_other_and_leave_the_queue(book: JobBook) -> None:
    book.ask("a", "slow", "runs/a")
    book.ask("b", "quick", "runs/b")
    book.ask("c", "quick", "runs/c")
    assert [book.state(name) for name in "abc"] == ["running", "waiting", "waiting"]
    book.stop("b")
    assert book.state("b") is None
    until_it_works(book, "a")
    book.stop("a")
    until(book, "a", "stopped")
    book.advance()
    until(book, "c", "done")


def test_a_run_is_found_again_by_another_studio(book: JobBook, tmp_path: Path) -> None:
    book.ask("a", "slow", "runs/a")
    again = JobBook(Workspace(tmp_path / "workspace"))
    assert again.state("a") == "running"
    with pytest.raises(VeneerError, match="running already"):
        again.ask("a", "slow", "runs/a")
    assert again.memory_gib("a") > 0


def test_a_run_stopped_before_it_can_say_so_is_no_killed_one(book: JobBook) -> None:
    book.ask("a", "mute", "runs/a")
    until_it_works(book, "a")
    book.stop("a")
    until(book, "a", "stopped")
    book.ask("a", "slow", "runs/a")
    os.kill(book.job("a").pid, signal.SIGKILL)
    until(book, "a", "killed")


def test_a_killed_run_is_no_ended_one(book: JobBook) -> None:
    job = book.ask("a", "slow", "runs/a")
    os.kill(job.pid, signal.SIGKILL)
    until(book, "a", "killed")
    with pytest.raises(VeneerError, match="not running"):
        book.stop("a")


def test_a_later_process_of_the_same_number_is_not_the_run(book: JobBook) -> None:
    book.ask("a", "quick", "runs/a")
    until(book, "a", "done")
    path = book.root / "a" / "job.json"
    earlier = psutil.Process().create_time() - 100  # before this process began, whenever the job began
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": os.getpid(), "born": earlier}))
    book._children.clear()
    assert book.state("a") == "done"


def test_a_damaged_job_is_no_job(book: JobBook) -> None:
    (book.root / "x").mkdir(parents=True)
    (book.root / "x" / "job.json").write_text("{")
    assert book.jobs() == []
    assert book.state("x") is None


@pytest.mark.parametrize("name", ["../../outside", "/etc", "..", "", ".", "a/b", "a\0b", "a\nb"])
def test_names_that_lead_elsewhere_are_no_jobs(book: JobBook, name: str, tmp_path: Path) -> None:
    """A page sends what it likes: whose log is read is decided here."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "job.json").write_text("{}")
    assert (book.job(name), book.state(name), book.memory_gib(name)) == (None, None, None)
    for use in (book.log, book.events, book.forget, lambda name: book.ask(name, "quick", "runs/a")):
        with pytest.raises(VeneerError):
            use(name)
    assert (tmp_path / "outside" / "job.json").is_file()


def test_a_run_is_told_where_its_recipe_may_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has looked at the recipe already; it may be another one once its turn has come."""
    place = Workspace(tmp_path / "workspace", (tmp_path / "models",))
    place.create()
    asked = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **_: asked.append(command) or FakeProcess())
    JobBook(place).ask("a", "quick", "runs/a")
    (words,) = asked
    within = [word for before, word in itertools.pairwise(words) if before == "--within"]
    assert within == [str(place.root), str(tmp_path / "models")]


class FakeProcess:
    pid = os.getpid()

    def poll(self) -> int:
        return 0
