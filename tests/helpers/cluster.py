"""A pool whose processes are objects of this one: what travels is pickled, and ray is not needed."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from veneer.cluster import captioning, checking, collecting, encoding
from veneer.cluster.pool import Answer
from veneer.cluster.session import Session

HERE = Session(cpus=4, usual=2)


def travelled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


class PoolHere:
    """The interface of `veneer.cluster.pool.Pool`."""

    def __init__(self, session: Session, worker: type, arguments: tuple[Any, ...] = (), **_: Any) -> None:
        self.size = session.processes_of(is_model=False)[0]
        self._worker = worker
        self._arguments = arguments
        self._objects: list[Any] = []

    def __enter__(self) -> PoolHere:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._objects:
            if hasattr(one, "_guarded"):
                one._guarded.__exit__(None, None, None)

    def call(self, method: str, piece: Any) -> Any:
        if not self._objects:
            self._objects = [self._worker(*self._arguments) for _ in range(self.size)]
        turn = self._objects.pop(0)
        self._objects.append(turn)
        answer: Answer = travelled(getattr(turn, method)(travelled(piece)))
        if answer.error is not None:
            raise answer.error
        return answer.value

    def as_they_end(self, method: str, work: Iterable[Any]) -> Iterator[Answer]:
        for piece in work:
            yield Answer(self.call(method, piece))

    in_order = as_they_end


def pools_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the stages of a cluster work in this process."""
    for module in (captioning, checking, collecting, encoding):
        monkeypatch.setattr(module, "Pool", PoolHere)
