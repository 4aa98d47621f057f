"""Runs that the studio started: each a process of its own, in a queue, found again after a restart.

A job is a folder ``WORKSPACE/.studio/jobs/NAME/`` with ``job.json`` (what to run, and the process that runs
it), ``log.txt`` (what the process printed) and ``events.jsonl`` (`veneer.cli.eventlog`). Its state is never
stored: it is read from the process and from the last event, so that closing the page or killing the studio
loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
from pydantic import TypeAdapter, ValidationError

from veneer.errors import EXIT_DONE, EXIT_INTERRUPTED, VeneerError
from veneer.records.files import known_object, write_json
from veneer.web.jobs.events import last_end
from veneer.web.workspace import Workspace, is_plain

JobState = Literal["waiting", "running", "done", "stopped", "failed", "killed"]
SECONDS_TO_TIDY = 3600.0
ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class QueuedRun:
    """A run asked for in the studio.

    Attributes:
        recipe: What `veneer run` is given: a bundled name, or a path relative to the workspace.
        out: The run folder, relative to the workspace.
        redo: Stages to do again.
        asked: When it was asked for, in seconds since 1970.
        pid: Process that runs it; None while it waits.
        born: When that process began, in seconds since 1970: tells it from a later one of the same number.
        is_stopped: Whether it was asked to stop: it may end before it can say so.
    """

    name: str
    recipe: str
    out: str
    redo: tuple[str, ...] = ()
    asked: float = 0.0
    pid: int | None = None
    born: float = 0.0
    is_stopped: bool = False

    @property
    def arguments(self) -> list[str]:
        """Words after ``veneer`` that do the same in a shell."""
        redo = [word for stage in self.redo for word in ("--redo", stage)]
        return ["run", self.recipe, "--out", self.out, *redo]


_QUEUED = TypeAdapter(QueuedRun)


class JobBook:
    """The jobs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.root = workspace.private / "jobs"
        self._home = workspace.root
        self._within = [word for folder in workspace.within for word in ("--within", str(folder))]
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()

    def ask(self, name: str, recipe: str, out: str, redo: Sequence[str] = ()) -> QueuedRun:
        """Put a run into the queue; it starts at once where nothing else runs.

        Args:
            recipe: What `veneer run` is given, relative to the workspace.
            out: The run folder, relative to the workspace.
            redo: Stages to do again.

        Raises:
            VeneerError: If this run waits or runs already.
        """
        with self._lock:
            if self.state(name) in {"waiting", "running"}:
                raise VeneerError(f"this run is {self.state(name)} already", where=name, todo="Stop it first")
            job = QueuedRun(name, recipe, out, tuple(redo), time.time())
            self._write(job)
            self.advance()
            return self.job(name) or job

    def stop(self, name: str) -> None:
        """Stop a run as Ctrl-C does: its step is finished and saved. A waiting one leaves the queue.

        Raises:
            VeneerError: If it neither runs nor waits.
        """
        with self._lock:
            job = self.job(name)
            match self.state(name):
                case "running" if job is not None and job.pid is not None:
                    self._write(replace(job, is_stopped=True))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(job.pid, signal.SIGINT)
                case "waiting":
                    (self.root / name / "job.json").unlink()
                case _:
                    raise VeneerError("this run is not running", where=name, todo="Resume it to go on")

    def advance(self) -> None:
        """Start the job that has waited longest, where no job runs."""
        with self._lock:
            states = {job.name: self.state(job.name) for job in self.jobs()}
            if "running" in states.values():
                return
            waiting = [job for job in self.jobs() if states[job.name] == "waiting"]
            if waiting:
                self._start(min(waiting, key=lambda job: job.asked))

    def jobs(self) -> list[QueuedRun]:
        """Every job known, the oldest first."""
        names = [path.parent.name for path in self.root.glob("*/job.json")]
        found = [job for name in names if (job := self.job(name)) is not None]
        return sorted(found, key=lambda job: job.asked)

    def job(self, name: str) -> QueuedRun | None:
        """A job by its run's name; None where the studio never started it.

        Returns:
            The job, or None.
        """
        if not is_plain(name):
            return None
        try:
            return _QUEUED.validate_python(known_object(self.root / name / "job.json"))
        except ValidationError:
            return None

    def state(self, name: str) -> JobState | None:
        """What a job does now, as its process and its last event tell.

        Returns:
            Its state; None where the studio never started it.
        """
        job = self.job(name)
        if job is None:
            return None
        if job.pid is None:
            return "waiting"
        if self._is_alive(job):
            return "running"
        match last_end(self.events(name)).get("status"):
            case None:
                return "stopped" if job.is_stopped else "killed"
            case status if status == EXIT_DONE:
                return "done"
            case status if status == EXIT_INTERRUPTED:
                return "stopped"
        return "failed"

    def is_stopping(self, name: str) -> bool:
        """Whether a job was told to stop and is still at work: it finishes its step and saves."""
        job = self.job(name)
        return job is not None and job.is_stopped and self.state(name) == "running"

    def log(self, name: str) -> Path:
        """What a job printed.

        Returns:
            The file, whether it exists or not.
        """
        return self._folder(name) / "log.txt"

    def events(self, name: str) -> Path:
        """Events of a job.

        Returns:
            The file, whether it exists or not.
        """
        return self._folder(name) / "events.jsonl"

    def memory_gib(self, name: str) -> float | None:
        """Memory that a running job holds, its worker processes included.

        Returns:
            Resident memory in GiB; None where it does not run.
        """
        job = self.job(name)
        if job is None or job.pid is None or not self._is_alive(job):
            return None
        try:
            process = psutil.Process(job.pid)
            family = [process, *process.children(recursive=True)]
            return float(sum(one.memory_info().rss for one in family)) / 2**30
        except psutil.Error:
            return None

    def forget(self, name: str) -> None:
        """Remove what is known about a job."""
        for path in (self._folder(name) / "job.json", self.log(name), self.events(name)):
            path.unlink(missing_ok=True)

    def watch(self, seconds: float = 1.0, also: Callable[[], object] | None = None) -> None:
        """Keep the queue moving, in a thread of its own, until `close`.

        Args:
            seconds: Seconds between two looks.
            also: What else is done, at once and then every hour.
        """

        def look() -> None:
            due = 0.0
            while not self._closing.wait(seconds):
                with contextlib.suppress(OSError):
                    self.advance()
                    if also is not None and time.monotonic() >= due:
                        due = time.monotonic() + SECONDS_TO_TIDY
                        also()

        threading.Thread(target=look, name="veneer-queue", daemon=True).start()

    def close(self) -> None:
        """Stop looking; what runs goes on."""
        self._closing.set()

    def _folder(self, name: str) -> Path:
        if not is_plain(name):
            raise VeneerError("no such run", where=name[:80], todo="Choose one of the list")
        return self.root / name

    def _start(self, job: QueuedRun) -> None:
        self.events(job.name).unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "veneer.cli.child",
            *job.arguments,
            *self._within,  # the recipe may be another one by now than when it was asked for
            "--events",
            str(self.events(job.name)),
        ]
        with self.log(job.name).open("wb") as log:
            child = subprocess.Popen(
                command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C that ends the studio leaves the run alone
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": _search_path()},
            )
        self._children[job.name] = child
        self._write(replace(job, pid=child.pid, born=_birth(child.pid)))

    def _is_alive(self, job: QueuedRun) -> bool:
        child = self._children.get(job.name)
        if child is not None and child.pid == job.pid:
            return child.poll() is None
        try:
            process = psutil.Process(job.pid)
            return bool(
                process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - job.born) < 1.0
            )
        except psutil.Error:
            return False

    def _write(self, job: QueuedRun) -> None:
        write_json(self._folder(job.name) / "job.json", asdict(job))


def _birth(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _search_path() -> str:
    """Where this process finds its packages: a run must use the same ones, wherever it is started."""
    return os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
