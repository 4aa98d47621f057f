"""Speed and memory on the GPU at hand, in one command of minutes.

    python -m bench.bench_gpu [--seconds 300] [--work FOLDER] [--results FOLDER] [--only WORD ...] [--dry]

The most telling sizes come first. When the seconds are used up the rest is named as not measured, and results
are written after every task: what a cut-off run has measured it keeps. A task that breaks the device or hangs
is left, and the others go on in a new process. The document is ``bench/results/speed_DEVICE_DATE.{json,md}``,
of which `bench.speed_tables` puts the table into docs/speed.md. `bench.gpu_cases` has the sizes,
`bench.gpu_systems` how they are measured. On a CPU, `--dry` tries the script at tiny sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.gpu_cases import SD15, Task, plan_tasks

HANGING_SECONDS = 60.0
"""Seconds above three times its estimate after which a task counts as hanging."""
GRACE_SECONDS = 5.0
"""Seconds above the budget that a task under way may go on for."""


class Bench:
    """Tasks done so far, and what they gave.

    Args:
        command: The command line.
        work: Folder of runs, base and outputs.
        results: Folder of the document.
        started: Moment of `time.monotonic` that the seconds count from.
        earlier: Results of an earlier process to go on with.
    """

    def __init__(
        self,
        command: str,
        work: Path,
        results: Path,
        *,
        seconds: float,
        started: float,
        earlier: Path | None = None,
    ) -> None:
        import torch

        from bench.machine import setting

        self.work, self.results, self.seconds, self.started = work, results, seconds, started
        self.record: dict[str, Any] = {
            **setting(command),
            "has_gpu": torch.cuda.is_available(),
            "load_before": 0.0,
            "minutes": 0.0,
            "cases": [],
            "watched": [],
            "encoded": [],
            "drawn": [],
            "starts": {},
            "not_measured": {},
            "tried": [],
        }
        if earlier is not None:
            self.record |= json.loads(earlier.read_text("utf-8"))
        self._minutes = self.record["minutes"]
        self._flop: dict[tuple[str, int], int] = {}

    def run(self, tasks: Sequence[Task]) -> None:
        """Do what fits the time, and write the document after each.

        Args:
            tasks: In the order of their worth.
        """
        for task in tasks:
            if task.title in self.record["tried"]:
                continue
            used = time.monotonic() - self.started
            if used + task.estimate > self.seconds:
                self._leave(task, f"no time: about {task.estimate:.0f} s more after {used:.0f} s")
                continue
            self.record["tried"].append(task.title)
            with self._watching(task):
                self._try(task)
            self.write()
            if is_broken():
                self.go_on_anew()

    def write(self) -> Path:
        """Write what there is.

        Returns:
            Path of the document.
        """
        from bench.gpu_tables import write_document

        self.record["minutes"] = round(self._minutes + (time.monotonic() - self.started) / 60, 1)
        return write_document(self.record, self.results)

    def _try(self, task: Task) -> None:
        try:
            self._do(task)
        except Exception as error:  # one task that fails must not take the others with it
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            return
        self._leave(task, why)
        for entry in self.record["cases"]:
            if entry["title"] == task.case.title and task.kind == "train":
                entry["failed"][task.system] = why

    @contextlib.contextmanager
    def _watching(self, task: Task) -> Iterator[None]:
        """Leave a task that hangs."""

        def give_up() -> None:
            self._leave(task, f"no end after {limit:.0f} s")
            self.go_on_anew()

        limit = HANGING_SECONDS + 3 * task.estimate
        timer = threading.Timer(limit, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def go_on_anew(self) -> None:
        """Leave this process, and whatever is broken in it, for a new one that does the other tasks."""
        path = self.write().with_suffix(".json")
        left = max(0.0, self.seconds - (time.monotonic() - self.started))
        print("going on in a new process", file=sys.stderr, flush=True)
        more = [*sys.argv[1:], "--seconds", str(left), "--go-on", str(path)]
        os.execv(sys.executable, [sys.executable, "-m", "bench.bench_gpu", *more])

    def _leave(self, task: Task, why: str) -> None:
        self.record["not_measured"][task.title] = why
        self._tell(task, why)

    def _do(self, task: Task) -> None:
        from bench import gpu_systems
        from bench.bench_speed import measure_starts
        from bench.speed_ceiling import matrix_rate

        deadline = self.started + self.seconds + GRACE_SECONDS
        match task.kind:
            case "encode":
                self.record["encoded"].append(gpu_systems.encode_task(task.case))
                self._tell(task, f"{self.record['encoded'][-1]['pictures_per_second']:.3g} pictures/s")
            case "generate":
                self.record["drawn"].append(gpu_systems.generate_task(task.case))
                self._tell(task, f"{self.record['drawn'][-1]['pictures_per_second']:.3g} pictures/s")
            case "start":
                starts = measure_starts().items()
                self.record["starts"] = {name: statistics.median(seconds) for name, seconds in starts}
                self._tell(task, str(self.record["starts"]))
            case "watch":
                found = gpu_systems.train_task(task, self.work, deadline)
                steps = len(found["turns"]) * task.case.turn
                self.record["watched"].append({"title": task.case.title, "steps": steps, **found})
                self._tell(task, f"{steps} steps")
            case _:
                rate = matrix_rate(task.case.precision, None if self.record["has_gpu"] else 256)
                system = gpu_systems.train_task(task, self.work, deadline)
                entry = self._entry(task)
                entry["ceiling_flop_per_second"].append(rate)
                entry["arms"][task.system] = system
                self._tell(task, _speed(task, system))

    def _entry(self, task: Task) -> dict[str, Any]:
        for entry in self.record["cases"]:
            if entry["title"] == task.case.title:
                return entry
        entry = {**asdict(replace(task.case, options=())), "title": task.case.title}
        entry |= {"flop_per_step": self._flop_per_step(task), "ceiling_flop_per_second": []}
        entry |= {"arms": {}, "failed": {}}
        self.record["cases"].append(entry)
        return entry

    def _flop_per_step(self, task: Task) -> int:
        from bench.speed_ceiling import flop_of_step

        key = task.case.base, task.case.resolution
        if key not in self._flop:
            self._flop[key] = flop_of_step(replace(task.case, batch_size=1))
        return self._flop[key] * task.case.batch_size

    def _tell(self, task: Task, what: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f}] {task.title}: {what}", file=sys.stderr, flush=True)


def is_broken() -> bool:
    """Whether the device refuses to work in this process, as it does after some errors."""
    import torch

    if not torch.cuda.is_available():
        return False
    try:
        torch.ones(1, device="cuda").sum().item()
    except RuntimeError:
        return True
    return False


def _speed(task: Task, system: dict[str, Any]) -> str:
    turns = [turn["seconds"] for turn in system["turns"]]
    seconds = statistics.median(turns[1:] or turns)
    peak = max(turn["peak_device_memory_gib"] for turn in system["turns"])
    return (
        f"{seconds:.4f} s/step, {task.case.batch_size / seconds:.1f} pictures/s, {peak:.2f} GiB, "
        f"first turn {system['seconds_to_first_turn']:.1f} s"
    )


def main() -> None:
    """Measure, and write the document."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=450, help="seconds for everything")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "veneer-bench-gpu")
    parser.add_argument("--results", type=Path, help="folder of the document")
    parser.add_argument("--only", nargs="+", help="words that a task's title must have, such as 'batch 4,'")
    parser.add_argument("--go-on", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on any device")
    options = parser.parse_args()

    import torch

    from bench.gpu_base import build_on_device
    from bench.speed_tables import RESULTS
    from veneer.machine import set_threads

    if not torch.cuda.is_available() and not options.dry:
        sys.exit("no CUDA device: nothing was measured (--dry tries the script on a CPU)")
    set_threads()
    tasks = plan_tasks(options.work, is_dry=options.dry)
    tasks = [task for task in tasks if all(word in task.title for word in options.only or ())]
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.dry and any(task.case.name == SD15 for task in tasks):
        build_on_device(options.work / "random-sd15", torch.device("cuda"))
    command = " ".join(["python -m bench.bench_gpu", *sys.argv[1:]])
    results = options.results or RESULTS
    bench = Bench(
        command, options.work, results, seconds=options.seconds, started=started, earlier=options.go_on
    )
    print(f"[{time.monotonic() - started:6.1f}] ready", file=sys.stderr, flush=True)
    bench.run(tasks)
    print(bench.write())


if __name__ == "__main__":
    main()
