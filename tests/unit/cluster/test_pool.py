"""Pieces of work, and what became of them."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from veneer.cluster import pool as pool_module
from veneer.cluster.pool import Answer, Pool, answering, pieces
from veneer.cluster.session import Session
from veneer.errors import DatasetError


def test_pieces_are_of_one_size_and_the_last_is_smaller() -> None:
    assert list(pieces([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(pieces([], 2)) == []


def test_an_error_travels_with_all_that_it_says() -> None:
    def fail() -> None:
        raise DatasetError("broken", where="a.png", todo="Take it out")

    told = pickle.loads(pickle.dumps(answering(fail))).error
    assert (type(told), told.what, told.where, told.todo) == (DatasetError, "broken", "a.png", "Take it out")
    assert answering(lambda: 3) == Answer(3)


def test_threads_that_come_together_start_the_processes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Ray:
        def remote(self, **_: object) -> Any:
            def begin() -> object:
                started.append(1)
                time.sleep(0.05)
                return object()

            return lambda worker: SimpleNamespace(remote=begin)

    monkeypatch.setattr(pool_module, "import_ray", Ray)
    pool = Pool(Session(cpus=4, usual=2), object)
    with ThreadPoolExecutor(8) as threads:
        assert len({id(one) for one in threads.map(lambda _: pool._started(), range(8))}) == 1
    assert len(started) == 2


def test_no_more_processes_are_asked_for_than_fit() -> None:
    assert Session(cpus=4, usual=2).processes_of(is_model=True) == (2, 0.0)
    assert Session(cpus=4, usual=2, workers=9).processes_of(is_model=False) == (4, 0.0)
    with_gpus = Session(cpus=64, usual=64, gpus=4, gpu_share=0.5)
    assert with_gpus.processes_of(is_model=True) == (8, 0.5)
    assert with_gpus.processes_of(is_model=False) == (64, 0.0)
    assert Session(cpus=64, usual=64, gpus=4, workers=3).processes_of(is_model=True) == (3, 1.0)
