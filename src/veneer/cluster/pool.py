"""Pieces of work over processes of a cluster: a few wait at a time, and a process that is killed is replaced.

Ray's own readers and data sets are not used: a piece is a handful of paths, the worker opens them with the
guard that a single machine has, and what it writes is named by its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from veneer.cluster.session import Session, import_ray
from veneer.errors import RunError, VeneerError
from veneer.events import Event

_T = TypeVar("_T")
WAITING = 2
"""Pieces that a process has at hand, so that it never waits for the next one."""


@dataclass(frozen=True)
class Answer:
    """What became of a piece.

    Attributes:
        value: The result; None where it failed.
        error: Kind, what, where and what to do of a `VeneerError`; None where all went well.
        told: Events on the way that the user should know.
    """

    value: Any = None
    error: tuple[type[VeneerError], str, str, str] | None = None
    told: tuple[Event, ...] = ()


def answering(work: Callable[[], Any], told: Sequence[Event] = ()) -> Answer:
    """Do a piece in a worker, its error as data: ray's own wrapping would lose where and what to do."""
    try:
        return Answer(work(), told=tuple(told))
    except VeneerError as error:
        return Answer(error=(type(error), error.what, error.where, error.todo), told=tuple(told))


def pieces(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    """Cut a list into pieces of a size, the last one smaller."""
    for first in range(0, len(items), size):
        yield list(items[first : first + size])


def _cannot_go_on(error: Exception) -> RunError:
    """What became of workers that could not start, or lost their machines for good."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    todo = "Mend what it says on that machine; the same command goes on with what is missing"
    return RunError(f"a worker of the cluster cannot go on: {lines[-1][:200]}", where="--cluster", todo=todo)


def spread(
    session: Session, worker: type, arguments: tuple[Any, ...], method: str, work: Iterable[Any]
) -> Iterator[Answer]:
    """Let workers do pieces, and give what became of them as they end; only a few wait at a time.

    A worker that dies is started anew, elsewhere where its machine is gone, and its pieces are done again.

    Args:
        worker: Class of the workers; every process has one object of it.
        arguments: Arguments of its constructor, small: they travel to each process.
        method: Its method that does a piece and returns an `Answer`.
        work: The pieces.

    Raises:
        VeneerError: The first error of a piece.
        RunError: If the workers themselves cannot go on.
    """
    ray = import_ray()
    remote = ray.remote(num_cpus=1, num_gpus=session.gpus_each, max_restarts=-1, max_task_retries=-1)(worker)
    actors = [remote.remote(*arguments) for _ in range(session.workers)]
    left = iter(work)
    waiting = {
        getattr(actor, method).remote(piece): actor
        for _ in range(WAITING)
        for actor, piece in zip(actors, islice(left, len(actors)), strict=False)
    }
    try:
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            actor = waiting.pop(ended)
            for piece in islice(left, 1):
                waiting[getattr(actor, method).remote(piece)] = actor
            try:
                answer = ray.get(ended)
            except ray.exceptions.RayError as error:
                raise _cannot_go_on(error) from error
            if answer.error is not None:
                kind, what, where, todo = answer.error
                raise kind(what, where=where, todo=todo)
            yield answer
    finally:
        for actor in actors:
            ray.kill(actor)
