"""Pieces of work over processes of a cluster: a few wait at a time, and a process that is killed is replaced.

Ray's own readers and data sets are not used: a piece is a handful of paths, the worker opens them with the
guard that a single machine has, and what it writes is named by its content.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, TypeVar

from veneer.cluster.session import Session, import_ray
from veneer.errors import RunError, VeneerError
from veneer.events import Event

_T = TypeVar("_T")
WAITING = 2
"""Pieces that a process has at hand, so that it never waits for the next one."""
HELD = 16
"""Pieces a process that may be done before one that comes first."""


@dataclass(frozen=True)
class Answer:
    """What became of a piece.

    Attributes:
        value: The result; None where it failed.
        error: What it failed with; None where all went well.
        told: Events on the way that the user should know.
    """

    value: Any = None
    error: Exception | None = None
    told: tuple[Event, ...] = ()


def answering(work: Callable[[], Any], told: Sequence[Event] = ()) -> Answer:
    """Do a piece in a worker, its error as data: ray's own wrapping would lose where and what to do."""
    try:
        return Answer(work(), told=tuple(told))
    except (VeneerError, OSError) as error:
        return Answer(error=error.with_traceback(None), told=tuple(told))


def pieces(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    """Cut a list into pieces of a size, the last one smaller."""
    for first in range(0, len(items), size):
        yield list(items[first : first + size])


def cannot_go_on(error: Exception) -> RunError:
    """What became of workers that could not start, or lost their machines for good."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    todo = "Mend what it says on that machine; the same command goes on with what is missing"
    return RunError(f"a worker of the cluster cannot go on: {lines[-1][:200]}", where="--cluster", todo=todo)


class Pool:
    """Processes of a cluster that do one kind of work; a context manager. They start with the first piece.

    A worker that dies is started anew, elsewhere where its machine is gone, and its pieces are done again.

    Args:
        worker: Class of the workers; every process has one object of it. Its methods do a piece and return an
            `Answer`.
        arguments: Arguments of its constructor, small: they travel to each process.
        is_model: Whether it computes on a GPU where there are some.
        at_once: Pieces that a process works on side by side. With several it waits more than it computes, and
            takes no processor: another pool may have them all.
    """

    def __init__(
        self,
        session: Session,
        worker: type,
        arguments: tuple[Any, ...] = (),
        *,
        is_model: bool = False,
        at_once: int = 1,
    ) -> None:
        self.size, self._gpus = session.processes_of(is_model=is_model)
        self._worker, self._arguments, self._at_once = worker, arguments, at_once
        self._actors: list[Any] = []
        self._turns = count()
        self._lock = threading.Lock()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            import_ray().kill(actor)
        self._actors = []

    def call(self, method: str, piece: Any) -> Any:
        """Do one piece, from any thread; the processes take turns.

        Raises:
            VeneerError: What the piece failed with.
            RunError: If the workers themselves cannot go on.
        """
        actors = self._started()
        actor = actors[next(self._turns) % len(actors)]
        return _value(_got(getattr(actor, method).remote(piece)))

    def as_they_end(self, method: str, work: Iterable[Any]) -> Iterator[Answer]:
        """Do pieces, and give what became of them as they end; only a few wait at a time.

        Raises:
            VeneerError: The first error of a piece.
            RunError: If the workers themselves cannot go on.
        """
        for _, answer in self._ended(method, work, lambda: True):
            yield answer

    def in_order(self, method: str, work: Iterable[Any]) -> Iterator[Answer]:
        """The same in the order of the pieces."""
        held: dict[int, Answer] = {}
        first = 0
        for number, answer in self._ended(method, work, lambda: len(held) < HELD * self.size):
            held[number] = answer
            while first in held:
                yield held.pop(first)
                first += 1

    def _ended(
        self, method: str, work: Iterable[Any], may_begin: Callable[[], bool]
    ) -> Iterator[tuple[int, Answer]]:
        ray = import_ray()
        numbered = enumerate(work)
        idle: list[Any] = []
        waiting: dict[Any, tuple[int, Any]] = {}

        def begin() -> None:
            while idle and may_begin() and (found := next(numbered, None)) is not None:
                actor = idle.pop()
                waiting[getattr(actor, method).remote(found[1])] = (found[0], actor)

        for number, piece in islice(numbered, 1):  # without work nothing is started
            actors = self._started()
            idle += (actors * WAITING)[:0:-1]
            waiting[getattr(actors[0], method).remote(piece)] = (number, actors[0])
        begin()
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            number, actor = waiting.pop(ended)
            idle.append(actor)
            begin()
            answer = _got(ended)
            _value(answer)
            yield number, answer
            begin()  # what was held back may begin now

    def _started(self) -> list[Any]:
        with self._lock:  # threads that come at the same time must not each start all
            self._actors = self._actors or self._start()
        return self._actors

    def _start(self) -> list[Any]:
        remote = import_ray().remote(
            num_cpus=1 if self._at_once == 1 else 0,
            num_gpus=self._gpus,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=self._at_once,
        )(self._worker)
        return [remote.remote(*self._arguments) for _ in range(self.size)]


def _got(reference: Any) -> Answer:
    ray = import_ray()
    try:
        answer: Answer = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise cannot_go_on(error) from error
    return answer


def _value(answer: Answer) -> Any:
    if answer.error is not None:
        raise answer.error
    return answer.value
