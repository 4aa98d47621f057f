"""The speed bench's document, its tables in docs/speed.md, and its lines in README.md.

``python -m bench.speed_tables [FILE ...]`` puts them there, from the newest results of each machine.
"""

from __future__ import annotations

import datetime
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gpu_tables import gpu_median
from bench.gpu_tables import table as gpu_table
from bench.machine import about, machine_name
from bench.speed_systems import CACHED, PLAIN, SYSTEMS, VENEER
from veneer.machine import hardware
from veneer.records.files import write_json, write_text
from veneer.versions import versions

RESULTS = Path(__file__).parent / "results"
README = RESULTS.parent.parent / "README.md"
PAGE = RESULTS.parent.parent / "docs" / "speed.md"
BEGIN = "<!-- speed: written by python -m bench.speed_tables -->"
END = "<!-- end of speed -->"
GPU_SIZES = "SD 1.5 at 512 and 1024 px, batches 1 to 32, bf16, on a GPU (`make bench-gpu`)"
EXPLANATION = """Medians over the turns after the warm-up, lowest and highest in brackets; the systems take
turns within one run. *Processor* seconds are added over the threads; where they are far from seconds times
threads, the machine was busy with something else. *Of the ceiling* is the UNet's operations by PyTorch's
counter over the seconds of the whole step, as a share of a large matrix product's speed, timed in every
round in the same precision. *Peak* is the highest resident memory of the system's own process.
*First step* is the time from the start of the process to the end of its first turn.
The plain loop runs VAE and text encoder at every step; *cached* makes latents and embeddings once, and its
first step has to wait for that. Veneer is the stage `train` itself, with log and checkpoints; its encoding
is a stage before, given below."""


def write_document(facts: Mapping[str, Any], folder: Path) -> Path:
    """Write results and document.

    Args:
        facts: What was measured, as `bench.bench_speed` gathers it.
    """
    machine, date = hardware(), datetime.datetime.now(datetime.UTC).date().isoformat()
    name = machine_name(has_gpu=facts["has_gpu"])
    record = {"date": date, "hardware": machine, "versions": versions(), **facts}
    write_json(folder / f"speed_{name}_{date}.json", record)
    path = folder / f"speed_{name}_{date}.md"
    write_text(path, document(record))
    return path


def document(record: Mapping[str, Any]) -> str:
    """Say it in words and tables.

    Returns:
        Markdown.
    """
    parts = ["# Speed and memory of training", about(record), EXPLANATION, table(record["cases"])]
    if not record["has_gpu"]:
        parts.append(f"{GPU_SIZES}: not measured.")
    parts += ["## Targets", targets(record["cases"])]
    parts += ["## Losses in bf16 against float32", losses(record["cases"])]
    parts += ["## Encoding, and start of the command line", encoding(record)]
    failures = [
        f"- {c['title']}, {system}: {why}" for c in record["cases"] for system, why in c["failed"].items()
    ]
    parts += ["## What failed", "\n".join(failures)] if failures else []
    return "\n\n".join(parts) + "\n"


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    """The table of all sizes and systems.

    Returns:
        Markdown.
    """
    head = [
        "size",
        "system",
        "s/step",
        "processor s/step",
        "pictures/s",
        "against plain",
        "against cached",
        "of the ceiling",
    ]
    head += ["peak GiB", "first step, s"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for case in cases:
        for number, system in enumerate(name for name in SYSTEMS if name in case["arms"]):
            cells = [case["title"] if number == 0 else "", system, *_cells(case, system)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets(cases: Sequence[Mapping[str, Any]]) -> str:
    """What was aimed at, and whether it was reached.

    Returns:
        Markdown.
    """
    lines = ["| size | Veneer's | aim | seen | |", "|---|---|---:|---:|---|"]
    for case in cases:
        if not {PLAIN, CACHED, VENEER} <= case["arms"].keys():
            continue
        for what, aim, seen in _aims(case):
            lines.append(
                f"| {case['title']} | {what} | {aim:.2f} | {seen:.2f} | {'yes' if seen >= aim else 'no'} |"
            )
    return "\n".join(lines)


def losses(cases: Sequence[Mapping[str, Any]]) -> str:
    """Veneer's seeded losses in bf16 beside those in float32, step by step.

    Returns:
        Markdown.
    """
    lines = [
        "| size | steps | first loss, fp32 | bf16 | largest relative difference |",
        "|---|---:|---:|---:|---:|",
    ]
    exact = {_size(case): case["losses"] for case in cases if case["precision"] == "no"}
    for case in cases:
        wanted, seen = exact.get(_size(case)), case["losses"]
        if case["precision"] == "no" or not wanted or not seen:
            continue
        pairs = list(zip(wanted, seen, strict=False))
        largest = max(abs(b - a) / abs(a) for a, b in pairs)
        cells = [_size(case), str(len(pairs)), f"{wanted[0]:.5f}", f"{seen[0]:.5f}", f"{largest:.1e}"]
        lines.append("| " + " | ".join(cells) + " |")
    if len(lines) == 2:
        return "No size was measured in both."
    return "\n".join(lines) + "\n\nbfloat16 keeps 8 bits: a number is rounded by up to 3.9e-3 of itself."


def encoding(record: Mapping[str, Any]) -> str:
    """Pictures a second of `encode`, and the seconds of commands.

    Returns:
        Markdown.
    """
    lines = ["| size | pictures | encoded, pictures/s | again, s |", "|---|---:|---:|---:|"]
    for case in record["cases"]:
        one = case["encoding"]
        rate = one["pictures"] / one["seconds"]
        lines.append(f"| {case['title']} | {one['pictures']} | {rate:.2f} | {one['seconds_again']:.2f} |")
    commands = "; ".join(f"`{name}` {seconds:.2f} s" for name, seconds in record["starts"].items())
    return "\n".join(lines) + f"\n\n{commands}."


def seconds_of(case: Mapping[str, Any], system: str, key: str = "seconds") -> list[float]:
    """Seconds of a step in every turn after the warm-up.

    Args:
        case: A measured case.
        key: "seconds" on the clock, or "processor_seconds".
    """
    turns = case["arms"][system]["turns"]
    return [turn[key] for turn in turns[min(2, len(turns) - 1) :]]


def _cells(case: Mapping[str, Any], system: str) -> list[str]:
    seconds = seconds_of(case, system)
    median = statistics.median(seconds)
    return [
        f"{median:.3g} ({min(seconds):.3g} to {max(seconds):.3g})",
        f"{statistics.median(seconds_of(case, system, 'processor_seconds')):.3g}",
        f"{case['batch_size'] / median:.3g}",
        *(f"{_times(case, other):.2f}" if system == VENEER != other and other in case["arms"] else ""
          for other in (PLAIN, CACHED)),
        f"{100 * _share(case, system):.0f} %",
        f"{_peak(case, system):.2f}",
        f"{case['arms'][system]['seconds_to_first_turn']:.1f}",
    ]  # fmt: skip


def _aims(case: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    plain, cached = _times(case, PLAIN), _times(case, CACHED)
    memory = _peak(case, CACHED) / _peak(case, VENEER)
    found = [("peak memory below the cached loop's: ratio", 1.0, memory)]
    match case["name"], case["resolution"]:
        case "pocket", _:
            found.append(("speed against the plain loop", 2.5, plain))
        case _, 512 if case["batch_size"] == 1:
            found.append(("speed against the plain loop", 1.7, plain))
            found.append(("speed against the cached loop", 1.1, cached))
            share = 0.85 if case["precision"] == "no" else 0.62
            found.append(("share of the ceiling", share, _share(case, VENEER)))
        case _ if case["batch_size"] == 2:
            found += [("speed against the plain loop", 2.5, plain)]
            found += [("speed against the cached loop", 1.5, cached)]
        case _, 512 if case["batch_size"] == 16:
            found.append(("share of the ceiling", 0.45, _share(case, VENEER)))
    return found


def _times(case: Mapping[str, Any], other: str) -> float:
    """How many times as fast as another system: the median over the rounds, each held against its own."""
    pairs = zip(seconds_of(case, other), seconds_of(case, VENEER), strict=False)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def _share(case: Mapping[str, Any], system: str) -> float:
    ceiling = statistics.median(case["ceiling_flop_per_second"])
    return float(case["flop_per_step"] / statistics.median(seconds_of(case, system)) / ceiling)


def _peak(case: Mapping[str, Any], system: str) -> float:
    turns = case["arms"][system]["turns"]
    on_device = max(turn["peak_device_memory_gib"] for turn in turns)
    return float(on_device or max(turn["peak_memory_gib"] for turn in turns))


def _size(case: Mapping[str, Any]) -> str:
    return f"{case['name']}, {case['resolution']} px, batch {case['batch_size']}"


def newest_results(folder: Path = RESULTS) -> list[Path]:
    """Find the newest results of each machine.

    Returns:
        JSON files, one for each machine.

    Raises:
        SystemExit: If there is none.
    """
    newest = {path.stem.rpartition("_")[0]: path for path in sorted(folder.glob("speed_*.json"))}
    if not newest:
        raise SystemExit(f"{folder}: no results of the speed bench; make them with `make bench`")
    return list(newest.values())


def section(paths: Sequence[Path]) -> str:
    """What docs/speed.md says of each machine: its tables, in Markdown."""
    records = [json.loads(path.read_text("utf-8")) for path in paths]
    parts = []
    for path, record in zip(paths, records, strict=True):
        where = f"bench/results/{path.stem}.md"
        rows = gpu_table(record["cases"]) if record["has_gpu"] else table(record["cases"])
        parts.append(
            f"{_machine(record)}, {record['date']}, load before the run "
            f"{record['load_before']} ([{where}](../{where})):\n\n{rows}"
        )
    if not any(record["has_gpu"] for record in records):
        parts.append(f"{GPU_SIZES}: not measured.")
    return "\n\n".join(parts) + "\n"


def in_short(paths: Sequence[Path]) -> str:
    """What README.md says of each machine: a line of pictures a second at SD 1.5's size, in Markdown."""
    lines = []
    for path in paths:
        record = json.loads(path.read_text("utf-8"))
        has_gpu = record["has_gpu"]
        found = [_rate(case, has_gpu=has_gpu) for case in record["cases"] if is_told(case)]
        if found:
            where = f"bench/results/{path.stem}.md"
            lines.append(f"- {_machine(record)}, {record['date']}: {'; '.join(found)} ([document]({where})).")
    return "\n".join(lines) + "\n"


def _rate(case: Mapping[str, Any], *, has_gpu: bool) -> str:
    """Pictures a second of Veneer, and how many times the others' they are where these were measured too."""
    median = gpu_median(case, VENEER) if has_gpu else statistics.median(seconds_of(case, VENEER))
    others = {name: _times(case, name) for name in (PLAIN, CACHED) if name in case["arms"]}
    beside = (
        f" ({', '.join(f'{times:.2f} times the {name}' for name, times in others.items())})" if others else ""
    )
    return f"{case['title'].removeprefix(case['name'] + ', ')} **{case['batch_size'] / median:.3g}**{beside}"


def is_told(case: Mapping[str, Any]) -> bool:
    """Whether README.md has room for a case: SD 1.5's size, where Veneer was measured."""
    return case["name"] == "SD 1.5" and VENEER in case["arms"]


def _machine(record: Mapping[str, Any]) -> str:
    machine = record["hardware"]
    device = machine["accelerator"] if record["has_gpu"] else f"{machine['processor']}, CPU"
    return f"{device}, {machine['cores']} cores"


def main() -> None:
    """Write both pages."""
    from bench.style_page import between_marks

    paths = [Path(word) for word in sys.argv[1:]] or newest_results()
    for page, text in ((PAGE, section(paths)), (README, in_short(paths))):
        write_text(page, between_marks(page.read_text("utf-8"), text, BEGIN, END))


if __name__ == "__main__":
    main()
