"""The log of training: one JSON object a step, cut back when steps are done again."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from veneer.events import StepEvent
from veneer.records.files import Record, open_to_append, write_text


class LoggedStep(Record):
    """A line of ``train/log.jsonl``; what was no finite number is None."""

    step: int
    """Optimizer step, from 1."""
    loss: float | None = None
    """Mean training loss of the global batch."""
    lr: float | None = None
    """Learning rate."""
    grad_norm: float | None = None
    """L2 norm of all trainable gradients before clipping."""
    grad_norm_clipped: float | None = None
    """The norm after clipping."""
    images_per_second: float | None = None
    """Pictures trained on in a second, over all processes."""
    seconds: float | None = None
    """Wall-clock seconds of the step."""


def read_steps(path: Path) -> list[LoggedStep]:
    """Read a log of training.

    Args:
        path: ``train/log.jsonl``.

    Returns:
        Its steps, ascending; of a step that was done twice, the last. None before training.
    """
    return steps_in(path.read_text("utf-8").splitlines()) if path.is_file() else []


def steps_in(lines: Iterable[str]) -> list[LoggedStep]:
    """Read lines of a log: a line cut short by a kill is left out, and the last line of a step counts."""
    by_step = {}
    for line in lines:
        with contextlib.suppress(ValidationError):
            entry = LoggedStep.model_validate_json(line)
            by_step[entry.step] = entry
    return [by_step[step] for step in sorted(by_step)]


@dataclass(frozen=True)
class PendingStep:
    """A step's numbers, some of them still on the device.

    Attributes:
        step: Optimizer step, from 1.
        lr: Learning rate.
        values: Loss, gradient norm before and after clipping, and the number of processes asked to stop;
            shape (4,).
    """

    step: int
    lr: float
    values: Tensor


class TrainLog:
    """Writes log.jsonl.

    Args:
        images_per_step: Pictures trained on in a step, over all processes.
        writes: Whether this process writes the file.
    """

    def __init__(self, path: Path, images_per_step: int, *, writes: bool) -> None:
        self._path = path
        self._images = images_per_step
        self._writes = writes
        self._waiting: list[PendingStep] = []
        self._since = time.perf_counter()

    def cut_back(self, step: int) -> None:
        """Forget what was logged after a step.

        Args:
            step: The last step to keep.
        """
        self._waiting.clear()
        self._since = time.perf_counter()
        if not self._writes:
            return
        lines = self._path.read_text("utf-8").splitlines(keepends=True) if self._path.is_file() else []
        write_text(self._path, "".join(line for line in lines if _is_kept(line, step)))

    def skip_time(self) -> None:
        """Count seconds from now: what came before was no step."""
        self._since = time.perf_counter()

    def add(self, record: PendingStep) -> None:
        """Take in a step; nothing is read from the device yet.

        Args:
            record: Its numbers.
        """
        self._waiting.append(record)

    def read(self) -> tuple[list[StepEvent], bool]:
        """Read what waits, and write it to the file.

        Returns:
            The steps since the last reading, and whether a process was asked to stop.
        """
        if not self._waiting:
            return [], False
        values = torch.stack([record.values for record in self._waiting]).cpu().tolist()
        now = time.perf_counter()
        seconds = (now - self._since) / len(self._waiting)
        self._since = now
        events = [
            _event(record, v, seconds, self._images) for record, v in zip(self._waiting, values, strict=True)
        ]
        self._waiting.clear()
        if self._writes:
            self._append(events)
        return events, any(v[3] > 0 for v in values)

    def _append(self, events: Sequence[StepEvent]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open_to_append(self._path) as file:
            file.writelines(json.dumps(_logged(event).model_dump()) + "\n" for event in events)


def _event(record: PendingStep, values: Sequence[float], seconds: float, images: int) -> StepEvent:
    return StepEvent(
        step=record.step,
        loss=values[0],
        lr=record.lr,
        grad_norm=values[1],
        grad_norm_clipped=values[2],
        images_per_second=images / max(seconds, 1e-9),
        seconds=seconds,
    )


def _logged(event: StepEvent) -> LoggedStep:
    return LoggedStep(**{k: v if math.isfinite(v) else None for k, v in vars(event).items()})


def _is_kept(line: str, step: int) -> bool:
    return line.endswith("\n") and any(entry.step <= step for entry in steps_in([line]))
