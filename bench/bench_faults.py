"""Faults of every kind: kills, full disks, damaged files; what must never come of them is counted.

    PYTHONPATH=tests python -m bench.bench_faults [--seconds 1100] [--work FOLDER] [--only SLICE ...]

Stopped at any time, the same command goes on. A slice is a row of `SLICES`: a number of cases, each a
function of its number. Writes ``bench/results/faults_HARDWARE_DATE.{json,md}`` and ends with status 1 where
something came that must never come: an exit of 3, a hang, a byte that differs.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench import fault_files, fault_kills, fault_runs, fault_strangers, fault_studio, fault_web
from bench.faults import Outcome, Slice, go_on, table
from bench.machine import heading, setting, write_results

SLICES: tuple[Slice, ...] = (
    *fault_runs.SLICES,
    *fault_kills.SLICES,
    *fault_files.SLICES,
    *fault_web.SLICES,
    *fault_strangers.SLICES,
    *fault_studio.SLICES,
)
"""Every kind of fault; another module adds its own here."""


def main() -> int:
    """Go on with the bench, and write the document.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1100)
    parser.add_argument("--work", type=Path, default=Path("runs/faults"))
    parser.add_argument("--only", nargs="+", choices=[one.name for one in SLICES], default=[])
    parser.add_argument("--again", action="store_true", help="forget what earlier commands found")
    asked = parser.parse_args()
    if asked.again:
        shutil.rmtree(asked.work, ignore_errors=True)
    asked.work.mkdir(parents=True, exist_ok=True)
    slices, began = [one for one in SLICES if one.name in asked.only or not asked.only], time.monotonic()
    names = {one.name for one in slices}
    outcomes = [one for one in go_on(slices, asked.work, asked.seconds, _tell) if one.slice in names]
    bad = [outcome for outcome in outcomes if outcome.is_bad]
    record = setting(shlex.join(["python", "-m", "bench.bench_faults", *sys.argv[1:]])) | {
        "seconds": round(time.monotonic() - began),
        "cases": len(outcomes),
        "wanted": sum(one.cases for one in slices),
        "bad": [asdict(outcome) for outcome in bad],
    }
    told = (
        f"**{len(outcomes)} of {record['wanted']} cases, {len(bad)} of which came to what must never come.**"
    )
    text = "\n".join([*heading("Faults of every kind", record), told, "", *table(slices, outcomes)])
    print(text)
    write_results("faults", record, text)
    return 1 if bad else 0


def _tell(outcome: Outcome) -> None:
    if outcome.is_bad:
        print(f"{outcome.slice} {outcome.number}: {outcome.came}\n{outcome.detail}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
