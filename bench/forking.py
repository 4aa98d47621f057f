"""Real processes that are there in milliseconds: forks of one that has every module loaded.

That one never goes through a network backwards, as torch allows no fork after it, and has one thread.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from bench.forking import serve; serve(int(sys.argv[2]))"
)
_WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class LostError(Exception):
    """A process that ended without a word and was not killed by us."""


@dataclass(frozen=True)
class Job:
    """What to do, and when to die.

    Attributes:
        function: A top-level function.
        is_forked: Whether a process of its own does it.
        seconds: When that is killed; None for never.
        place: Folder whose writes are counted.
        write: Before which of them the process kills itself; None for none.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    is_forked: bool = True
    seconds: float | None = None
    place: Path | None = None
    write: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        is_killed: Whether a kill ended it; it then gave nothing.
        value: What its function gave, or what it raised.
        seconds: How long it lived.
        writes: How many writes were counted.
    """

    is_killed: bool
    value: Any = None
    seconds: float = 0.0
    writes: int = 0


class Forker:
    """A process to fork others of; it ends with this one."""

    def __init__(self) -> None:
        self._line, theirs = Pipe()
        arguments = [json.dumps(sys.path), str(theirs.fileno())]
        self._server = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        theirs.close()

    def here(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have the process itself do something, which every fork then has loaded.

        Returns:
            What the function gives.

        Raises:
            Exception: What it raises.
        """
        return _given(self._ask(Job(function, arguments, is_forked=False)))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have a fork do something.

        Returns:
            What the function gives.

        Raises:
            Exception: What it raises.
            LostError: If the fork ended without a word.
        """
        ended = self._ask(Job(function, arguments))
        if ended.is_killed:
            raise LostError("a process ended without a word")
        return _given(ended)

    def kill(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> Ended:
        """Have a fork do something, and kill it after a while where it is not done by then."""
        return self._ask(Job(function, arguments, seconds=seconds))

    def kill_at(self, place: Path, write: int | None, function: Callable[..., Any], *arguments: Any) -> Ended:
        """Have a fork do something, and kill itself before one of its writes into a folder, from 0."""
        return self._ask(Job(function, arguments, place=place, write=write))

    def _ask(self, job: Job) -> Ended:
        self._line.send(job)
        number = self._line.recv() if job.is_forked else 0
        try:
            return self._line.recv()  # type: ignore[no-any-return]
        except BaseException:  # the case took too long: the line must be free for the next
            if number:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self._line.recv()
            raise


def _given(ended: Ended) -> Any:
    if isinstance(ended.value, Exception):
        raise ended.value
    return ended.value


def serve(number: int) -> None:
    """Do what comes down a line until it is closed."""
    line = Connection(number)
    while True:
        try:
            job: Job = line.recv()
        except EOFError:
            return
        line.send(_forked(job, line) if job.is_forked else Ended(is_killed=False, value=_done(job)))


def _forked(job: Job, line: Connection) -> Ended:
    source, sink = os.pipe()
    began = time.monotonic()
    number = os.fork()
    if not number:
        _live(job, sink)
    os.close(sink)
    line.send(number)
    said = _read(source, job.seconds)
    if not said:
        os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    seconds = time.monotonic() - began
    if not said:
        return Ended(is_killed=True, seconds=seconds)
    value, writes = pickle.loads(said)
    return Ended(is_killed=False, value=value, seconds=seconds, writes=writes)


def _live(job: Job, sink: int) -> None:
    """All that a fork does; it never comes back."""
    count = [0]
    if job.place is not None:
        _watch(str(job.place), job.write, count)
    value = _done(job)
    said = pickle.dumps((value, count[0]))
    with os.fdopen(sink, "wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
    os._exit(0)


def _done(job: Job) -> Any:
    """What a function gives, or the error that it raised in a form that travels."""
    try:
        return job.function(*job.arguments)
    except Exception as error:
        error.add_note(traceback.format_exc(limit=-6))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return RuntimeError(traceback.format_exc(limit=-6))
        return error


def _watch(place: str, write: int | None, count: list[int]) -> None:
    """Count what is written below a folder, and die before one write of them."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            is_write = isinstance(arguments[2], int) and bool(arguments[2] & _TO_WRITE)
        else:
            is_write = event in _WRITES
        if is_write and _is_below(arguments, place):
            if count[0] == write:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(look)


def _is_below(arguments: tuple[Any, ...], place: str) -> bool:
    """Whether a write is of a folder; one by a name alone, as in a folder that is removed, counts too."""
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    name = os.fsdecode(path)
    return name.startswith(place) or "/" not in name


def _read(source: int, seconds: float | None) -> bytes:
    """What a fork says to its end; nothing where it dies before, or says nothing in time."""
    until = None if seconds is None else time.monotonic() + seconds
    said = b""
    with os.fdopen(source, "rb", buffering=0) as file:
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not said and not select.select([file], [], [], left)[0]:
                return b""
            piece = file.read(2**16)
            if not piece:
                break
            said += piece
    return said[8:] if said and len(said) == 8 + int.from_bytes(said[:8], "little") else b""
