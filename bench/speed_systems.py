"""The systems of the speed bench, each in a process of its own that waits for its turn after every few steps.

Nothing heavy is imported at the top: seconds to the first step begin where the process begins, and what an
system does not need must not count for it.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PLAIN, CACHED, VENEER = "plain loop", "plain loop, cached", "Veneer"
SYSTEMS = (PLAIN, CACHED, VENEER)
LEARNING_RATE = 1e-4
WAIT_SECONDS = 900


@dataclass(frozen=True)
class Case:
    """One size that all systems are measured at.

    Attributes:
        name: Name of the base.
        base: Folder of the base, or "pocket".
        run: Run folder with data set and cache.
        resolution: Side of the pictures, in pixels.
        batch_size: Pictures of a step.
        precision: "no", "bf16" or "fp16".
        turn: Steps of a turn.
        turns: Turns of each system; the first two of them are warm-up.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        options: Further settings of Veneer's train table.
    """

    name: str
    base: str
    run: str
    resolution: int
    batch_size: int
    precision: str
    turn: int
    turns: int
    gradient_checkpointing: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def steps(self) -> int:
        """Steps of all turns."""
        return self.turn * self.turns

    @property
    def title(self) -> str:
        """Short name for tables."""
        precision = "fp32" if self.precision == "no" else self.precision
        checkpointed = ", gradient checkpointing" if self.gradient_checkpointing else ""
        return f"{self.name}, {self.resolution} px, batch {self.batch_size}, {precision}{checkpointed}"


@dataclass(frozen=True)
class Turn:
    """What a system says after a turn.

    Attributes:
        seconds: Seconds of each step; for the first turn since the process came up.
        processor_seconds: Seconds of processor time of each step, over all threads; other programs disturb
            it little.
        peak_memory_gib: Highest resident memory so far.
        peak_device_memory_gib: Highest memory of tensors on the accelerator so far.
    """

    seconds: float
    processor_seconds: float
    peak_memory_gib: float
    peak_device_memory_gib: float


class Clock:
    """Counts the steps of a system, and holds it back between its turns.

    Args:
        connection: To the parent.
    """

    def __init__(self, connection: Any, turn: int) -> None:
        from veneer import machine

        self._connection, self._turn = connection, turn
        self._measure = machine.measure()
        self._used = self._measure.__enter__()
        self._since, self._worked = time.perf_counter(), time.process_time()

    def step(self, number: int) -> None:
        """A step has ended.

        Args:
            number: Its number, from 1.
        """
        if number % self._turn:
            return
        _wait_for_device()
        seconds = (time.perf_counter() - self._since) / self._turn
        worked = (time.process_time() - self._worked) / self._turn
        used = self._used()
        self._connection.send(Turn(seconds, worked, used.peak_memory_gib, used.peak_device_memory_gib))
        self._connection.recv()
        self._since, self._worked = time.perf_counter(), time.process_time()


class System:
    """A system's process, seen from the parent.

    Args:
        case: What it trains.
        out: Folder for what it writes.
    """

    def __init__(self, name: str, case: Case, out: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.started = time.perf_counter()
        self._process = context.Process(target=_run, args=(name, case, out, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> Turn:
        """Wait for the end of a turn.

        Returns:
            What the system says.

        Raises:
            RuntimeError: If the system failed, with its reason.
        """
        if not self._connection.poll(WAIT_SECONDS):
            raise RuntimeError(f"no step in {WAIT_SECONDS} s")
        try:
            said = self._connection.recv()
        except EOFError:
            raise RuntimeError("the process ended, perhaps for want of memory") from None
        if isinstance(said, str):
            raise RuntimeError(said)
        return said

    def go_on(self) -> None:
        """Let the system do its next turn."""
        self._connection.send(None)

    def close(self) -> None:
        """Wait for the end where it is near, and end the process."""
        self._process.join(120)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def recipe_of(case: Case) -> Any:
    """The recipe that Veneer trains by: the plain loop's settings.

    Args:
        case: What is trained.

    Returns:
        A resolved recipe.
    """
    from veneer.recipe import resolve

    return resolve(
        {
            "base": {"model": case.base},
            "encode": {"resolution": case.resolution, "flip": 0.0},
            "train": {
                "max_train_steps": case.steps,
                "train_batch_size": case.batch_size,
                "learning_rate": LEARNING_RATE,
                "mixed_precision": case.precision,
                "gradient_checkpointing": case.gradient_checkpointing,
                "checkpointing_steps": case.steps,
                "validation_share": 0.0,
                **dict(case.options),
            },
        }
    )


def train_system(name: str, case: Case, out: Path, connection: Any) -> None:
    """Train one system.

    Args:
        name: `PLAIN`, `CACHED`, or any other for Veneer by the case's options.
        out: Folder for what it writes.
        connection: Told of every turn, and asked after each whether to go on.
    """
    if name in {PLAIN, CACHED}:
        _train_plainly(case, out, connection, cached=name == CACHED)
    else:
        _train_veneer(case, out, connection)


def _run(name: str, case: Case, out: Path, connection: Any) -> None:
    try:
        train_system(name, case, out, connection)
    except Exception as error:  # the parent tells it and goes on with the others
        connection.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _train_plainly(case: Case, out: Path, connection: Any, *, cached: bool) -> None:
    from bench.plain_loop import Settings, train_plainly

    clock = Clock(connection, case.turn)
    settings = Settings(
        base=_folder(case.base),
        data=Path(case.run) / "dataset",
        out=out / "lora.safetensors",
        steps=case.steps,
        learning_rate=LEARNING_RATE,
        batch_size=case.batch_size,
        resolution=case.resolution,
        mixed_precision=case.precision,
        gradient_checkpointing=case.gradient_checkpointing,
        cached=cached,
    )
    train_plainly(settings, clock.step)


def _train_veneer(case: Case, out: Path, connection: Any) -> None:
    """The stage itself, as ``veneer train RUN`` calls it; its own events are the clock."""
    import shutil

    from veneer.events import Event, StepEvent
    from veneer.records.run import RunDir
    from veneer.stages.train import train

    clock = Clock(connection, case.turn)
    run = RunDir(Path(case.run))
    shutil.rmtree(run.train, ignore_errors=True)

    def on_event(event: Event) -> None:
        if isinstance(event, StepEvent):
            clock.step(event.step)

    train(run, recipe_of(case), on_event)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.log_jsonl, out / "log.jsonl")


def _folder(base: str) -> Path:
    if base != "pocket":
        return Path(base)
    from importlib import resources

    return Path(str(resources.files("veneer") / "pocket"))


def _wait_for_device() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def plain(turn: Turn) -> dict[str, float]:
    """A turn as plain data.

    Returns:
        Its numbers by name.
    """
    return asdict(turn)
