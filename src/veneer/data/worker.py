"""Work on files that may hang or crash a decoder: done in processes of our own, each of which can be killed.

A job is a top-level function of the package and its arguments. A process that does not answer in time, or
dies, costs one job and is replaced; it never ends the command. Nothing is forked (threads of torch would not
survive it), and the caller's main module is not imported again, so notebooks and plain scripts work.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO, Generic, TypeVar

from veneer.cores import cores
from veneer.errors import VeneerError

_T = TypeVar("_T")
J = TypeVar("J")
_Job = tuple[Callable[..., Any], tuple[Any, ...]]

SECONDS_A_FILE = 20.0
"""Longest that one file may take, in seconds."""

START_SECONDS = 300.0
"""Longest that a process may take to start: on a busy machine imports alone can take longer than a file."""

MEMORY_BYTES = 4 * 2**30
"""Address space of one process, in bytes; what needs more is an error in that process (not on Windows)."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from veneer.data.worker import serve; serve()"
)
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Failure:
    """A job without a result.

    Attributes:
        timed_out: Whether it took too long, which it may not another time.
    """

    reason: str
    timed_out: bool = False


class Workers(Generic[_T]):
    """A few processes that do one kind of job, in order, with a time limit for each.

    Args:
        function: A top-level function of an importable module; its arguments and result are pickled.
        count: Processes; the cores at hand by default.
        seconds: Longest that one job may take, once its process has started.
    """

    def __init__(
        self,
        function: Callable[..., _T],
        *,
        count: int | None = None,
        seconds: float = SECONDS_A_FILE,
    ) -> None:
        self._function = function
        self._seconds = seconds
        self.count = count or cores()
        self._processes = [_Process((_get_ready, (function,))) for _ in range(self.count)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="worker")

    def __enter__(self) -> Workers[_T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=error is None, cancel_futures=True)
        if error is not None:  # a job that went on would write after the command had ended
            for process in self._processes:
                process.abort()
            self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get().kill()

    def map(self, jobs: Iterable[tuple[J, tuple[Any, ...]]]) -> Iterator[tuple[J, _T | Failure]]:
        """Do jobs side by side, and give their results in order; only a few wait at a time.

        Args:
            jobs: Pairs of a label, given back as it is, and the function's arguments.

        Yields:
            The label, and the result or why there is none.
        """
        waiting: deque[tuple[J, Future[_T | Failure]]] = deque()
        for label, arguments in jobs:
            waiting.append((label, self._threads.submit(self.call, *arguments)))
            if len(waiting) >= 4 * self.count:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def call(self, *arguments: Any) -> _T | Failure:
        """Do one job.

        Args:
            *arguments: Arguments of the function.

        Returns:
            Its result, or why there is none: a `VeneerError` that it raised, no answer in time, a crash.

        Raises:
            Exception: What else the function raised.
        """
        process = self._idle.get()
        try:
            answer = process.ask((self._function, arguments), self._seconds)
        finally:
            self._idle.put(process)
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]


class _Process:
    """A process that is started when it is first asked, and again after it was killed."""

    def __init__(self, first: _Job) -> None:
        self._first = first
        self._running: subprocess.Popen[bytes] | None = None
        self._is_aborted = False

    def ask(self, job: _Job, seconds: float) -> Any:
        if self._running is None:
            self._running = _start()
            if self._is_aborted:
                self.kill()
                return Failure("the command ended before")
            answer = self._exchange(self._running, self._first, START_SECONDS)
            if answer is not None:
                return answer
        return self._exchange(self._running, job, seconds)

    def _exchange(self, process: subprocess.Popen[bytes], job: _Job, seconds: float) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        try:
            _write(process.stdin, job)
            timer.start()
            return _read(process.stdout)
        except (OSError, EOFError):
            self.kill()
            if timed_out.is_set():
                return Failure(f"not done within {seconds:g} s", timed_out=True)
            return Failure(f"the process that worked on it crashed (exit status {process.returncode})")
        finally:
            timer.cancel()

    def abort(self) -> None:
        """End the process from another thread than the one that asked it; that one finds it dead."""
        self._is_aborted, running = True, self._running
        if running is not None:
            running.kill()

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            for pipe in (self._running.stdin, self._running.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            self._running = None


def serve() -> None:
    """Answer jobs on standard input until it is closed: the body of a worker process."""
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "w") as nothing:  # noqa: PTH123 - os.devnull is a name, not a path, on Windows
        os.dup2(nothing.fileno(), 1)  # a library that prints must not garble the answers
    _limit_memory()
    while True:
        try:
            function, arguments = _read(jobs)
        except EOFError:
            return
        answer: Any
        try:
            answer = function(*arguments)
        except VeneerError as error:
            answer = Failure(error.what)
        except MemoryError:
            answer = Failure("needs more memory than there is")
        except Exception as error:
            answer = error
        _write(answers, answer)


def processes_for(num_jobs: int) -> int:
    """How many processes a number of small jobs is worth: starting one takes as long as a dozen of them.

    Args:
        num_jobs: Jobs to do.

    Returns:
        From 1 to the cores at hand.
    """
    return min(cores(), max(1, num_jobs // 16))


def _get_ready(_: Callable[..., Any]) -> None:
    """The first job of a process: the function is imported by now, which was no picture's fault."""


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff and others print there about every odd tag
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the parent, which then ends its workers
    )


def _limit_memory() -> None:
    try:
        import resource  # not on Windows
    except ImportError:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _write(pipe: BinaryIO | Any, value: Any) -> None:
    try:
        content = pickle.dumps(value)
    except Exception as error:  # an error object that does not pickle
        content = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def _read(pipe: BinaryIO | Any) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    size = _LENGTH.unpack(head)[0]
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return pickle.loads(content)
