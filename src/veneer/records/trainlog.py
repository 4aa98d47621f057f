"""The log of training: one JSON object a step, cut back when steps are done again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from veneer.events import StepEvent
from veneer.records.files import write_text


@dataclass(frozen=True)
class Record:
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
        path: The file.
        images_per_step: Pictures trained on in a step, over all processes.
        writes: Whether this process writes the file.
    """

    def __init__(self, path: Path, images_per_step: int, *, writes: bool) -> None:
        self._path = path
        self._images = images_per_step
        self._writes = writes
        self._waiting: list[Record] = []
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

    def add(self, record: Record) -> None:
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
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(_plain(event)) + "\n" for event in events)


def _event(record: Record, values: Sequence[float], seconds: float, images: int) -> StepEvent:
    return StepEvent(
        step=record.step,
        loss=values[0],
        lr=record.lr,
        grad_norm=values[1],
        grad_norm_clipped=values[2],
        images_per_second=images / max(seconds, 1e-9),
        seconds=seconds,
    )


def _plain(event: StepEvent) -> dict[str, Any]:
    return {k: v if math.isfinite(v) else None for k, v in vars(event).items()}


def _is_kept(line: str, step: int) -> bool:
    try:
        return line.endswith("\n") and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False
