import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import slowstart
from helpers.workerjobs import double, misbehave, write_late
from veneer.data.worker import Failure, Workers


def test_results_come_in_order_with_their_labels() -> None:
    with Workers(double, count=3) as workers:
        assert list(workers.map((str(n), (n,)) for n in range(50))) == [(str(n), 2 * n) for n in range(50)]


def test_jobs_are_taken_as_they_are_needed() -> None:
    taken = []

    def jobs() -> Iterator[tuple[int, tuple[int]]]:
        for n in range(1000):
            taken.append(n)
            yield n, (n,)

    with Workers(double, count=2) as workers:
        results = workers.map(jobs())
        next(results)
        assert len(taken) <= 10


def test_a_hanging_job_is_killed_and_the_next_one_done() -> None:
    start = time.monotonic()
    with Workers(misbehave, count=1, seconds=2) as workers:
        results = dict(workers.map((kind, (kind,)) for kind in ("hang", "fine")))
    assert results == {"hang": Failure("not done within 2 s", timed_out=True), "fine": "fine"}
    assert time.monotonic() - start < 30


def test_a_slow_start_is_not_held_against_a_job() -> None:
    with Workers(slowstart.double, count=1, seconds=1) as workers:
        assert workers.call(3) == 6


def test_a_crash_costs_one_job() -> None:
    with Workers(misbehave, count=1) as workers:
        results = dict(workers.map((kind, (kind,)) for kind in ("crash", "fine")))
    assert results == {
        "crash": Failure("the process that worked on it crashed (exit status 11)"),
        "fine": "fine",
    }


def test_an_error_ends_the_jobs_at_work(tmp_path: Path) -> None:
    begun, late = tmp_path / "begun", tmp_path / "late"
    with pytest.raises(KeyboardInterrupt), Workers(write_late, count=1) as workers:
        threading.Thread(target=workers.call, args=(str(begun), str(late))).start()
        while not begun.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    time.sleep(2)
    assert not late.exists()


def test_refusals_are_values_and_bugs_are_raised() -> None:
    with Workers(misbehave, count=1) as workers:
        assert workers.call("refuse") == Failure("no good")
        assert workers.call("memory") == Failure("needs more memory than there is")
        with pytest.raises(RuntimeError, match="a bug"):
            workers.call("bug")
        assert workers.call("fine") == "fine"
