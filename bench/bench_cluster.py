"""Benchmark of a local Ray cluster: `check` and the planning of `encode`, with and without one.

    python -m bench.bench_cluster [--sizes 10000 100000] [--work FOLDER] [--no-kills]

Every command runs in a process of its own. In one run of the bench, for each size: the plain path and the
cluster's, pictures a second, their ratio, peak resident memory of the leading process and the largest sum of
it and all its children, and whether both leave the same bytes. Then, on 60 pictures, the whole path to
`encode` with a worker killed by SIGKILL in each stage, its bytes against those of one machine; and the same$
for two processes that train. Writes ``bench/results/cluster_HARDWARE_DATE.{json,md}``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.bench_data import SIDE_PX, make_pictures
from bench.machine import setting, write_results

_PROLOGUE = """
import contextlib, json, resource, sys, time
from pathlib import Path
from veneer.config import CaptionTable
from veneer.recipe import resolve
from veneer.records.run import RunDir
from veneer.cluster.session import connected
run = RunDir(Path(sys.argv[1]))
recipe = resolve({"caption": {"model": "none"}, "compare": {"embedder": "pocket"}})
cluster = connected("local", run.root) if sys.argv[2] == "cluster" else contextlib.nullcontext()
with cluster as session:
    start = time.perf_counter()
"""
_EPILOGUE = """
    seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "leader_peak_mib": peak}))
"""
WORK = {
    "check": """
    from veneer.stages.check import check
    if session is not None:
        from veneer.cluster.checking import fill_measures
        fill_measures(session, run)
    check(run.dataset, resolution=64, on_event=lambda event: None)
""",
    "encode, planning": """
    from veneer.encoding.split import read_pictures
    read_pictures(run, recipe, lambda event: None)
""",
}
"""Done in this order; the leading process plans `encode` in both paths: its ratio is that of noise."""
PATHS = ("plain", "cluster")
LOOK_SECONDS = 0.2
KILLS = (
    "tests/stage/test_cluster.py::"
    "test_the_run_is_that_of_one_machine_though_a_worker_is_killed_in_every_stage",
    "tests/stage/test_cluster.py::test_training_is_that_of_two_processes_though_one_of_them_is_killed",
)
"""Tests that kill a worker in each stage and hold the bytes against those of one machine, and of torchrun."""


def measure_path(code: str, root: Path, path: str) -> dict[str, Any]:
    """Do one piece of work in a process of its own.

    Args:
        code: What is done.
        path: "plain" or "cluster".

    Returns:
        Seconds of the work, peak MiB of the process, and the largest sum of it and its children in MiB.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROLOGUE + code + _EPILOGUE, str(root), path]
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        running = subprocess.Popen(command, env=environment, stdout=told, stderr=errors, text=True)
        most = 0.0
        while running.poll() is None:
            most = max(most, _resident_mib(running.pid))
            time.sleep(LOOK_SECONDS)
        told.seek(0), errors.seek(0)
        if running.returncode:
            raise SystemExit(f"{path} failed:\n{errors.read()[-2000:]}")
        measured = json.loads(told.read().strip().splitlines()[-1])
    return {**measured, "sum_peak_mib": most, "load": os.getloadavg()[0]}


def _resident_mib(pid: int) -> float:
    try:
        leader = psutil.Process(pid)
        all_of_them = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for one in all_of_them:
        try:
            total += one.memory_info().rss
        except psutil.Error:  # gone meanwhile
            continue
    return total / 2**20


def content_of(dataset: Path) -> str:
    """Hash of what `check` leaves: its findings, and every picture's measures by name."""
    lines = sorted((dataset / ".measures.jsonl").read_text("utf-8").splitlines())
    told = [{k: v for k, v in json.loads(line).items() if k != "stamp"} for line in lines]
    text = json.dumps(told, sort_keys=True) + (dataset / "check.json").read_text("utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def bench_size(size: int, work: Path) -> list[dict[str, Any]]:
    """Measure both paths on the same pictures, one after the other."""
    from veneer.config import CaptionTable
    from veneer.stages.caption import caption
    from veneer.stages.collect import collect

    root = work / str(size)
    shutil.rmtree(root, ignore_errors=True)
    make_pictures(root / "source", size)
    collect([str(root / "source")], root / "run" / "dataset", on_event=lambda event: None)
    caption(
        root / "run" / "dataset", CaptionTable(model="none", prefix="picture"), on_event=lambda event: None
    )
    rows, left = [], {}
    for path in PATHS:
        for name in (".measures.jsonl", "check.json", "check.html"):
            (root / "run" / "dataset" / name).unlink(missing_ok=True)
        for name, code in WORK.items():
            measured = measure_path(code, root / "run", path)
            rate = size / measured["seconds"]
            rows.append(
                {"work": name, "path": path, "pictures": size, "pictures_per_second": rate, **measured}
            )
            print(rows[-1], file=sys.stderr, flush=True)
        left[path] = content_of(root / "run" / "dataset")
    shutil.rmtree(root)
    for row in rows:
        row["same_bytes"] = left["plain"] == left["cluster"]
    return rows


def bench_kills() -> dict[str, str]:
    """Run the tests that kill workers; "passed", or the last line of what they said."""
    found = {}
    for test in KILLS:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", test]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines() or ["nothing"]
        passed = done.returncode == 0 and "skipped" not in lines[-1]
        found[test.rpartition("::")[2]] = "passed" if passed else lines[-1]
        print(test, found, file=sys.stderr, flush=True)
    return found


def document(record: dict[str, Any]) -> str:
    """The page."""
    machine = record["hardware"]
    lines = [
        "# A local Ray cluster beside the plain path",
        "",
        f"{record['date']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"Python {record['versions']['python']}, ray {record['ray']}; load average before the run "
        f"{record['load_before']}, {record['minutes']} minutes. Pictures of {SIDE_PX} px, one run of "
        f"each. Command: `{record['command']}`. Seconds are of the work, without the cluster's start. "
        "Leader: the process that the command is; sum: that one and all its children, ray's own among them. "
        "The leading process plans `encode` in both paths.",
        "",
        "| work | pictures | path | seconds | pictures/s | to plain | leader, MiB | sum, MiB | load |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    plain = {
        (row["work"], row["pictures"]): row["pictures_per_second"]
        for row in record["rows"]
        if row["path"] == "plain"
    }
    for row in record["rows"]:
        ratio = row["pictures_per_second"] / plain[row["work"], row["pictures"]]
        lines.append(
            f"| {row['work']} | {row['pictures']:,} | {row['path']} | {row['seconds']:.1f} "
            f"| {row['pictures_per_second']:.1f} | {ratio:.2f} | {row['leader_peak_mib']:.0f} "
            f"| {row['sum_peak_mib']:.0f} | {row['load']:.1f} |"
        )
    same = all(row["same_bytes"] for row in record["rows"])
    lines += ["", f"Measures and findings of both paths: {'the same bytes' if same else 'NOT the same'}.", ""]
    lines += [f"- {name}: {outcome}" for name, outcome in record["kills"].items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "veneer-bench-cluster")
    parser.add_argument("--no-kills", action="store_true", help="leave the tests out that kill workers")
    given = parser.parse_args()
    load, start = round(os.getloadavg()[0], 1), time.monotonic()
    rows = [row for size in given.sizes for row in bench_size(size, given.work)]
    kills = {} if given.no_kills else bench_kills()
    command = "python -m bench.bench_cluster --sizes " + " ".join(map(str, given.sizes))
    record = setting(command) | {
        "ray": importlib.metadata.version("ray"),
        "load_before": load,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "rows": rows,
        "kills": kills,
    }
    print(write_results("cluster", record, document(record)))


if __name__ == "__main__":
    main()
