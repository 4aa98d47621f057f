"""Speed and memory of training: Veneer beside what a user would run instead, in one run.

    python -m bench.bench_speed [--cases WORD ...] [--turns N] [--work FOLDER] [--results FOLDER]

Three systems take turns on the same base, pictures, precision, machine: the plain loop (`bench.plain_loop`),
the plain loop with cached latents and embeddings, and Veneer's own stage `train`. Each is a process of its
own, so that peak memory and the seconds to the first step are its own. In every round a large matrix product
in the same precision is timed too: the machine's ceiling. Operations are counted on torch's meta device by
PyTorch's own counter. SD 1.5 has its exact structure and random weights, on which speed does not depend.

This is the bench for CPUs; `bench.bench_gpu` is the one for GPUs. The document is
``bench/results/speed_HARDWARE_DATE.{json,md}``; `bench.speed_tables` puts the table into docs/speed.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.speed_systems import SYSTEMS, VENEER, Case, System, Turn, plain, recipe_of

WARM_UP_TURNS = 2
POCKET, SD15 = "pocket", "SD 1.5"
PICTURES = {POCKET: 16, SD15: 4}


def cases(work: Path, turns: int) -> list[Case]:
    """What is measured.

    Args:
        work: Folder of runs and of the random base.
        turns: Turns of each system at the large size, warm-up included.

    Returns:
        The sizes.
    """
    base = str(work / "random-sd15")
    found = []
    for precision in ("no", "bf16"):
        run = str(work / "runs" / f"pocket-{precision}")
        found.append(Case(POCKET, "pocket", run, 64, 8, precision, turn=10, turns=turns + 2))
    for precision in ("bf16", "no"):
        run = str(work / "runs" / f"sd15-{precision}")
        found.append(Case(SD15, base, run, 512, 1, precision, turn=1, turns=turns))
    return found


def prepare(case: Case) -> dict[str, Any]:
    """Draw the pictures of a case and encode them, twice: the second time there must be nothing to do.

    Returns:
        Pictures, seconds and pictures a second of both encodings.
    """
    from bench.sd15_smoke import draw_pictures
    from veneer.records.dataset import Dataset, Item
    from veneer.records.run import RunDir
    from veneer.stages.encode import encode

    run = RunDir(Path(case.run))
    shutil.rmtree(run.root, ignore_errors=True)
    draw_pictures(run.dataset / "images", PICTURES[case.name], case.resolution)
    names = Dataset(run.dataset).picture_names()
    texts = [(run.dataset / name).with_suffix(".txt").read_text() for name in names]
    Dataset(run.dataset).write_metadata([Item(n, t) for n, t in zip(names, texts, strict=True)])
    recipe = recipe_of(case)
    run.write_recipe(recipe)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        encode(run, recipe)
        seconds.append(time.perf_counter() - start)
    return {"pictures": PICTURES[case.name], "seconds": seconds[0], "seconds_again": seconds[1]}


def measure(case: Case, work: Path) -> dict[str, Any]:
    """Let the systems of a case take turns.

    Args:
        work: Folder for what the systems write.

    Returns:
        Plain data: every turn of every system, the ceiling of every round, operations, losses.
    """
    from bench.speed_ceiling import flop_of_step, matrix_rate

    encoded = prepare(case)
    out = {name: work / "out" / f"{case.title} {name}" for name in SYSTEMS}
    systems: dict[str, System] = {}
    turns: dict[str, list[Turn]] = {name: [] for name in SYSTEMS}
    first: dict[str, float] = {}
    failed: dict[str, str] = {}
    ceiling = [matrix_rate(case.precision)]
    with contextlib.ExitStack() as stack:
        for number in range(case.turns):
            for name in [name for name in SYSTEMS if name not in failed]:
                try:
                    if number == 0:
                        systems[name] = System(name, case, out[name])
                        stack.callback(systems[name].close)
                    else:
                        systems[name].go_on()
                    turns[name].append(systems[name].wait())
                except RuntimeError as error:
                    failed[name] = str(error)
                    continue
                first.setdefault(name, time.perf_counter() - systems[name].started)
                _tell(case, name, number, turns[name][-1])
            ceiling.append(matrix_rate(case.precision))
        for name in [name for name in SYSTEMS if name not in failed]:
            systems[name].go_on()
    return {
        **asdict(case),
        "title": case.title,
        "flop_per_step": flop_of_step(case),
        "ceiling_flop_per_second": ceiling,
        "encoding": encoded,
        "arms": {
            name: {"seconds_to_first_turn": first[name], "turns": [plain(turn) for turn in turns[name]]}
            for name in SYSTEMS
            if name not in failed
        },
        "failed": failed,
        "losses": [] if VENEER in failed else _losses(out[VENEER] / "log.jsonl"),
    }


def measure_starts() -> dict[str, list[float]]:
    """Seconds of ``python -m veneer --help``, five times; an installed script need not be there.

    Returns:
        Seconds by command.
    """
    command = [sys.executable, "-m", "veneer", "--help"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return {"python -m veneer --help": seconds}


def _losses(path: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in path.read_text("utf-8").splitlines()]


def _tell(case: Case, name: str, number: int, turn: Turn) -> None:
    line = f"{case.title}: {name}, turn {number + 1}: {turn.seconds:.3f} s a step, "
    line += f"{turn.processor_seconds:.3f} s of processor time"
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="words that a case's title must have, such as bf16")
    parser.add_argument("--turns", type=int, default=8, help="turns at the large size, two of them warm-up")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "veneer-bench-speed")
    parser.add_argument("--results", type=Path, help="folder of the document")
    options = parser.parse_args()
    if options.turns <= WARM_UP_TURNS:
        parser.error(f"--turns must be above {WARM_UP_TURNS}: that many are warm-up")

    import torch

    from bench.random_sd15 import build_random_sd15
    from bench.speed_tables import RESULTS, write_document
    from veneer.machine import set_threads

    if torch.cuda.is_available():
        parser.error("this machine has a GPU: measure it with python -m bench.bench_gpu")
    set_threads()
    load = os.getloadavg()[0]
    starts = measure_starts()
    chosen = [
        case
        for case in cases(options.work, options.turns)
        if all(word in case.title for word in options.cases or ())
    ]
    base = options.work / "random-sd15"
    if any(case.name == SD15 for case in chosen) and not (base / "model_index.json").is_file():
        build_random_sd15(base)
    begun = time.perf_counter()
    measured = [measure(case, options.work) for case in chosen]
    facts = {
        "command": " ".join(["python -m bench.bench_speed", *sys.argv[1:]]),
        "threads": torch.get_num_threads(),
        "load_before": round(load, 1),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
        "warm_up_turns": WARM_UP_TURNS,
        "starts": {name: statistics.median(seconds) for name, seconds in starts.items()},
        "has_gpu": False,
        "cases": measured,
    }
    print(write_document(facts, options.results or RESULTS))


if __name__ == "__main__":
    main()
