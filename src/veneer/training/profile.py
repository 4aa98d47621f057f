"""Where a training step's time goes: ``veneer train RUN --profile`` writes a trace and a table.

The profiler listens to the events of training, so the loop itself knows nothing of it. It costs time: a
profiled run is slower than others, and its log says so only in the steps that were profiled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from veneer.events import Event, StepEvent
from veneer.records.files import write_text

WARM_UP_STEPS = 2
STEPS = 3
OPERATIONS_SHOWN = 20
WORK_KINDS = (
    ("attention", r"scaled_dot_product|flash|efficient_attention|softmax|\bbmm|baddbmm"),
    ("convolutions", r"conv|cudnn|upsample"),
    ("matrix products", r"\bmm|addmm|linear|gemm|matmul"),
    ("normalisation", r"norm"),
    ("optimizer", r"adam|optimizer|_foreach|lerp"),
    ("copies and casts", r"copy|\bcat\b|\bto\b|contiguous|fill|zero|memcpy|memset"),
)
"""Kinds of operations by their names; the first that fits counts."""
OTHER = "everything else"


@dataclass(frozen=True)
class Operation:
    """What one kind of torch operation took.

    Attributes:
        name: torch's name of it.
        calls: Calls in a step.
        milliseconds: Time in a step, without the operations that it calls.
    """

    name: str
    calls: float
    milliseconds: float

    @property
    def kind(self) -> str:
        """Kind of work."""
        return next(
            (kind for kind, pattern in WORK_KINDS if re.search(pattern, self.name, re.IGNORECASE)), OTHER
        )


class StepProfile:
    """Profiles some steps of a training; pass `on_event` to it, and `close` it.

    Args:
        folder: Where ``trace.json`` and ``profile.md`` go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table: str | None = None
        self._profiler: Any = None
        self._first: int | None = None
        self._seen = 0

    def on_event(self, event: Event) -> None:
        """Begin after the first steps, and end a few later.

        Args:
            event: An event of training.
        """
        if self.table is not None or not isinstance(event, StepEvent):
            return
        self._seen += 1
        if self._profiler is None and self._seen >= WARM_UP_STEPS:
            self._begin(event.step)
        elif self._first is not None and event.step - self._first >= STEPS:
            self._end(event.step - self._first)

    def close(self) -> None:
        """Let go of the profiler where training ended before the profile was complete."""
        if self._profiler is not None and self.table is None:
            self._profiler.stop()

    def _begin(self, step: int) -> None:
        self._first = step
        self._profiler = torch.profiler.profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        )
        self._profiler.start()

    def _end(self, steps: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self.folder / "trace.json"))
        self.table = profile_tables(operations(self._profiler, steps), steps)
        write_text(self.folder / "profile.md", f"# Where a step's time goes\n\n{self.table}")


def operations(profiler: Any, steps: int) -> list[Operation]:
    """Read a profile.

    Args:
        profiler: A stopped `torch.profiler.profile`.
        steps: Steps that it saw.

    Returns:
        Operations, the longest first; on a GPU by the time on the device.
    """
    field = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    found = [
        Operation(one.key, one.count / steps, float(getattr(one, field)) / 1e3 / steps)
        for one in profiler.key_averages()
    ]
    return sorted(found, key=lambda one: -one.milliseconds)


def profile_tables(found: Sequence[Operation], steps: int) -> str:
    """Tables of a profile: by kind of work, and the longest operations.

    Args:
        found: The operations, the longest first.
        steps: Steps that were profiled.

    Returns:
        Markdown.
    """
    total = sum(one.milliseconds for one in found) or 1.0
    kinds = dict.fromkeys((*(kind for kind, _ in WORK_KINDS), OTHER), 0.0)
    for one in found:
        kinds[one.kind] += one.milliseconds
    lines = [f"Mean of {steps} steps, {total:.1f} ms each under the profiler.", ""]
    lines += ["| work | ms a step | share |", "|---|---:|---:|"]
    for kind, milliseconds in sorted(kinds.items(), key=lambda item: -item[1]):
        lines.append(f"| {kind} | {milliseconds:.1f} | {100 * milliseconds / total:.1f} % |")
    lines += ["", "| operation | calls a step | ms a step | share |", "|---|---:|---:|---:|"]
    for one in found[:OPERATIONS_SHOWN]:
        share = f"{100 * one.milliseconds / total:.1f} %"
        lines.append(f"| {one.name} | {one.calls:.0f} | {one.milliseconds:.1f} | {share} |")
    return "\n".join(lines) + "\n"
