"""Benchmark of the data stages: files a second and peak memory at 2,000 and 20,000 small pictures.

    python -m bench.bench_data [--sizes 2000 20000] [--repeats 1] [--work FOLDER]

Each stage runs in a process of its own, whose peak resident memory, and that of its largest worker, is
what the system reports. The stages: `collect` from a folder, `check`, `check` again (measures kept),
`caption` with ``dry_run``, planning of `encode` (every picture decoded and hashed, some held out). Baselines
in the same run: CleanVision's own Imagelab with every issue on the same files, and a plain loop with Pillow
and imagehash. Writes ``bench/results/data_HARDWARE_DATE.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import setting, write_results

SIDE_PX = 64

_PROLOGUE = """
import json, resource, sys, time
from pathlib import Path
root = Path(sys.argv[1])
start = time.perf_counter()
"""
_EPILOGUE = """
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mib": peak, "worker_peak_mib": worker}))
"""
STAGES = {
    "collect": """
from veneer.stages.collect import collect
collect([str(root / "source")], root / "run" / "dataset")
""",
    "check": """
from veneer.stages.check import check
check(root / "run" / "dataset", resolution=64)
""",
    "check again": """
from veneer.stages.check import check
check(root / "run" / "dataset", resolution=64)
""",
    "caption --dry-run": """
from veneer.stages.caption import caption
from veneer.config import CaptionTable
caption(root / "run" / "dataset", CaptionTable(model="pocket"), dry_run=True)
""",
    "encode, planning": """
from veneer.stages.caption import caption
from veneer.config import CaptionTable, Recipe
from veneer.records.run import RunDir
from veneer.training.split import read_pictures
caption(root / "run" / "dataset", CaptionTable(model="none", prefix="picture"))
start = time.perf_counter()
read_pictures(RunDir(root / "run"), Recipe(), lambda event: None)
""",
    "baseline: CleanVision Imagelab": """
from cleanvision import Imagelab
Imagelab(data_path=str(root / "source")).find_issues(n_jobs=2, verbose=False)
""",
    "baseline: Pillow and imagehash, one process": """
import hashlib, imagehash
from PIL import Image
for path in sorted((root / "source").iterdir()):
    with Image.open(path) as picture:
        str(imagehash.phash(picture.convert("RGB"))), hashlib.sha256(path.read_bytes()).hexdigest()
""",
}


def make_pictures(folder: Path, count: int) -> None:
    """Write small pictures of coloured fields, no two alike.

    Args:
        count: How many.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        fields = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(fields).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:06d}.png", compress_level=1)


def measure(stage: str, root: Path) -> dict[str, float]:
    """Run one stage in a process of its own.

    Args:
        stage: Its name in `STAGES`.
        root: Folder with ``source/`` and the data set of earlier stages.

    Returns:
        Seconds, peak resident memory of the process and of its largest worker in MiB, and the machine's load
        average over the last five minutes at its end.
    """
    code = _PROLOGUE + STAGES[stage] + _EPILOGUE
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{stage} failed:\n{done.stderr}")
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "load": os.getloadavg()[1]}


def bench(sizes: list[int], repeats: int, work: Path) -> list[dict[str, Any]]:
    """Measure every stage at every size.

    Args:
        sizes: Numbers of pictures.
        repeats: How often; the data set is collected anew each time.
        work: Folder for the pictures.

    Returns:
        One row for each stage and size.
    """
    rows = []
    for size in sizes:
        root = work / str(size)
        shutil.rmtree(root, ignore_errors=True)
        make_pictures(root / "source", size)
        runs: dict[str, list[dict[str, float]]] = {stage: [] for stage in STAGES}
        for _ in range(repeats):
            shutil.rmtree(root / "run", ignore_errors=True)
            for stage in STAGES:
                runs[stage].append(measure(stage, root))
                print(size, stage, runs[stage][-1], file=sys.stderr, flush=True)
        rows += [_row(stage, size, measured) for stage, measured in runs.items()]
        shutil.rmtree(root)
    return rows


def _row(stage: str, size: int, measured: list[dict[str, float]]) -> dict[str, Any]:
    seconds = [one["seconds"] for one in measured]
    return {
        "stage": stage,
        "pictures": size,
        "seconds": round(statistics.median(seconds), 1),
        "seconds_of_each_run": [round(value, 1) for value in seconds],
        "pictures_per_second": round(size / statistics.median(seconds), 1),
        "peak_mib": round(max(one["peak_mib"] for one in measured)),
        "worker_peak_mib": round(max(one["worker_peak_mib"] for one in measured)),
        "load": round(statistics.median(one["load"] for one in measured), 1),
    }


def _document(record: dict[str, Any]) -> str:
    lines = [
        "# Data stages: speed and memory",
        "",
        f"{record['date']}, {record['hardware']['processor']}, {record['hardware']['cores']} cores, "
        f"{record['hardware']['memory_gib']} GiB; Python {record['versions']['python']}; "
        f"load average before the run {record['load_before']}.",
        f"Pictures of {SIDE_PX} x {SIDE_PX} px, PNG; {record['repeats']} run(s), medians. "
        "Command: `"
        + record["command"]
        + "`. Load: average number of processes that wanted a core, over the "
        "last five minutes at the end of a stage; above the number of cores, the seconds say little.",
        "",
        "| stage | pictures | seconds | pictures/s | peak MiB | of a worker, MiB | load |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in record["rows"]:
        lines.append(
            f"| {row['stage']} | {row['pictures']:,} | {row['seconds']} | {row['pictures_per_second']} "
            f"| {row['peak_mib']} | {row['worker_peak_mib']} | {row['load']} |"
        )
    return "\n".join([*lines, "", *record["notes"], ""])


def _growth(rows: list[dict[str, Any]]) -> list[str]:
    """How much memory each further picture costs, between the smallest and the largest size."""
    notes = ["Memory for each further picture, from the smallest to the largest size:", ""]
    for stage in STAGES:
        mine = sorted((row for row in rows if row["stage"] == stage), key=lambda row: row["pictures"])
        more = mine[-1]["pictures"] - mine[0]["pictures"]
        if more:
            kib = 1024 * (mine[-1]["peak_mib"] - mine[0]["peak_mib"]) / more
            at_100k = mine[-1]["peak_mib"] + (100_000 - mine[-1]["pictures"]) * kib / 1024
            notes.append(f"- {stage}: {kib:.1f} KiB; 100,000 pictures would take {at_100k:.0f} MiB")
    return notes


def main() -> None:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "veneer-bench-data")
    arguments = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    rows = bench(arguments.sizes, arguments.repeats, arguments.work)
    command = "python -m bench.bench_data --sizes " + " ".join(map(str, arguments.sizes))
    record = setting(command) | {
        "repeats": arguments.repeats,
        "load_before": load,
        "rows": rows,
        "notes": _growth(rows),
    }
    print(write_results("data", record, _document(record)))


if __name__ == "__main__":
    main()
