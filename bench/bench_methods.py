"""Every method on the bundled base: held-out loss, style and prompt, each beside the base with an interval.

    python -m bench.bench_methods [--only NAME ...] [--steps 200] [--batch 2] [--work FOLDER]

One data set (the bundled pictures), one encoding, the base's pictures drawn once; each method is the recipe
`pocket-8bit` with the report's adapter (rank 4 on attention) and the keys in its row. A method that was
measured with the same weights and settings is not measured again, so the same command goes on. Writes
``bench/results/methods_HARDWARE_DATE.{json,md}``.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.methods_systems import (
    METHODS,
    RECIPE,
    Bench,
    Budget,
    Row,
    measure,
    read_row,
    set_up_bench,
    write_row,
)
from veneer.errors import VeneerError
from veneer.machine import hardware, set_threads
from veneer.models.modelfiles import pocket_folder
from veneer.records.files import write_json, write_text
from veneer.stats import paired
from veneer.versions import versions

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "validation_loss": "held-out loss (down)",
    "style_texture": "style, texture (up)",
    "style": "style, CLIP-I (up)",
    "prompt": "prompt, CLIP-T (up)",
    "diversity": "diversity",
    "forgetting": "drift (down)",
}


def measure_all(bench: Bench, names: Sequence[str]) -> list[Row]:
    """Measure the methods that are not measured yet.

    Args:
        bench: What they share.
    """
    rows = []
    for number, name in enumerate(names, 1):
        path = bench.work / "rows" / f"{_slug(name)}.json"
        row = read_row(path, bench.identity(name))
        if row is None:
            row = _measured(bench, name)
            write_row(path, row)
        told = row.failed or _cell(row.measures["validation_loss"])
        print(f"{number}/{len(names)} {name}: {told}, {row.seconds:.0f} s", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def _measured(bench: Bench, name: str) -> Row:
    try:
        return measure(bench, name)
    except VeneerError as error:  # a package that is not installed is a row too
        return Row(bench.identity(name), name, METHODS[name], failed=error.what)


def document(record: dict[str, Any], rows: Sequence[Row]) -> str:
    """Write the table.

    Args:
        record: Command, date, hardware, versions and budget.
        rows: The methods.

    Returns:
        Markdown.
    """
    machine, budget = record["hardware"], record["budget"]
    lines = [
        "# Every method on the bundled base",
        "",
        f"{record['date']}, {machine['processor']}, {machine['cores']} cores; torch "
        f"{record['versions']['torch']}; weights `{record['weights']}`. Command: `{record['command']}`.",
        f"`pocket-8bit` with the report's adapter (rank 4 on attention), {budget['steps']} steps of "
        f"{budget['batch']} pictures and the keys of each row; "
        f"{record['pictures']} pictures a method, {budget['sampling']} denoising steps. Difference to the "
        "base with its 95 % interval; the first row also gives the base's own value. Where a word is learnt, "
        "the base's pictures are of the plain prompt.",
        "",
        "| method | "
        + " | ".join(COLUMNS.values())
        + " | loss, to the recipe | verdict | numbers | seconds |",
        "|---|" + "---:|" * len(COLUMNS) + "---:|---|---:|---:|",
    ]
    recipe = next((row for row in rows if row.name == RECIPE and not row.failed), None)
    for row in rows:
        if row.failed:
            lines.append(f"| {row.name} | {row.failed} |" + " |" * (len(COLUMNS) + 3))
            continue
        cells = [_cell(row.measures[key], with_base=row is recipe) for key in COLUMNS]
        cells += [_against(recipe, row), row.verdict, f"{row.parameters:,}", f"{row.seconds:.0f}"]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _cell(plain: Any, *, with_base: bool = False) -> str:
    if plain is None:
        return "not available"
    start = f"{plain['base']:.4f} " if with_base else ""
    return f"{start}{plain['delta']:+.4f}{_interval(plain['ci95'])}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:+.4f} to {interval[1]:+.4f})"


def _against(recipe: Row | None, row: Row) -> str:
    """Held-out loss against the plain recipe's, by held-out picture."""
    is_other_grid = "train.timestep_range" in row.settings  # its loss is asked at other timesteps
    if recipe is None or row is recipe or is_other_grid or len(recipe.losses) != len(row.losses):
        return ""
    found = paired(recipe.losses, row.losses, range(len(row.losses)), better="lower")
    return f"{found.delta:+.4f}{_interval(found.ci95)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("+", " plus ")).strip("-")


def main() -> int:
    """Measure what is missing; write table and figures.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=Budget().steps)
    parser.add_argument("--batch", type=int, default=Budget().batch)
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    asked = parser.parse_args()
    set_threads()
    weights = hashlib.sha256((pocket_folder() / "checksums.json").read_bytes()).hexdigest()[:12]
    budget = Budget(steps=asked.steps, batch=asked.batch)
    bench = set_up_bench(asked.work / weights, budget, weights)
    names = list(dict.fromkeys([RECIPE, *asked.only]))
    rows = measure_all(bench, names)
    machine, date = hardware(), datetime.datetime.now(datetime.UTC).date().isoformat()
    record = {
        "date": date,
        "command": shlex.join(["python", "-m", "bench.bench_methods", *sys.argv[1:]]),
        "hardware": machine,
        "versions": versions(),
        "weights": weights,
        "trained": json.loads((pocket_folder() / "trained.json").read_text("utf-8")),
        "budget": asdict(budget),
        "pictures": len(bench.jobs),
        "load": round(os.getloadavg()[0], 1),
        "rows": [asdict(row) for row in rows],
    }
    text = document(record, rows)
    print(text)
    if set(names) != set(METHODS):
        print("not all methods were asked for: nothing is written", file=sys.stderr)
        return 0
    stem = f"methods_{_slug(str(machine['processor']))}-{machine['cores']}-cores_{date}"
    write_json(RESULTS / f"{stem}.json", record)
    write_text(RESULTS / f"{stem}.md", text)
    print(RESULTS / f"{stem}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
