"""The document of the bench on a GPU, and its part of docs/speed.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gpu_cases import COMPILED, EAGER, GPU_ARMS, POCKET
from bench.machine import about, machine_name
from bench.speed_systems import CACHED, PLAIN, VENEER
from veneer.records.files import write_json, write_text

EXPLANATION = """Pictures a second: medians over turns of ten steps, the first of them left out, each system
with the card for itself, one after the other in one process. *Plain* is the report's loop, with VAE and
text encoder in every step; *cached* makes latents and embeddings once. *Veneer* is the stage `train` as
its recipe has it: the step is one CUDA graph where this version has that. *Of the ceiling* is the UNet's
operations by PyTorch's counter over the seconds of the whole step, as a share of an 8192 x 8192 matrix
product's speed in the same precision, on random numbers, timed before every system. *GiB* is the highest
memory of tensors on the device, in brackets what the allocator held. *First steps* is the time from the
call of the stage, or of the loop, to the end of its tenth step: loading and, in Veneer, warming up and
capture. SD 1.5 has its exact structure and random weights, on which speed does not depend. In float32
every system and the ceiling multiply in TF32."""
DECAY_TURNS = 5


def write_document(record: Mapping[str, Any], folder: Path) -> Path:
    """Write results and document.

    Args:
        record: What was measured so far.
    """
    path = folder / f"speed_{machine_name(has_gpu=record['has_gpu'])}_{record['date']}.md"
    write_json(path.with_suffix(".json"), dict(record))
    write_text(path, document(record))
    return path


def document(record: Mapping[str, Any]) -> str:
    """Say it in words and tables.

    Returns:
        Markdown.
    """
    parts = ["# Speed and memory of training on a GPU", about(record), EXPLANATION, table(record["cases"])]
    parts += ["## Aims", aims(record)]
    parts += ["## Other stages, and the start", stages(record)]
    untold = [f"- {title}: {why}" for title, why in record["not_measured"].items()]
    parts += ["## Not measured", "\n".join(untold)] if untold else []
    return "\n\n".join(parts) + "\n"


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    """A line for each size, a column for each system.

    Returns:
        Markdown.
    """
    head = ["size", "plain", "cached", "Veneer, no graph", "**Veneer**", "compiled", "s/step"]
    head += ["against plain", "against cached", "of the ceiling", "GiB", "first steps, s"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *(_line(case) for case in cases)])


def aims(record: Mapping[str, Any]) -> str:
    """What was aimed at on this device, and whether it was reached.

    Returns:
        Markdown.
    """
    lines = ["| size | Veneer's | aim | seen | |", "|---|---|---:|---:|---|"]
    for case in record["cases"]:
        for what, aim, seen, is_most in _aims(case):
            is_met = seen <= aim if is_most else seen >= aim
            about = "at most" if is_most else "at least"
            cells = [case["title"], what, f"{about} {aim:g}", f"{seen:.3g}", "yes" if is_met else "no"]
            lines.append("| " + " | ".join(cells) + " |")
    for one in record["watched"]:
        decay = _decay(one["turns"])
        is_met = "yes" if decay <= 1.05 else "no"
        what = f"seconds of the last turns over those of the first, {one['steps']} steps"
        lines.append(f"| {one['title']} | {what} | at most 1.05 | {decay:.3f} | {is_met} |")
    return "\n".join(lines)


def stages(record: Mapping[str, Any]) -> str:
    """Encoding, drawing and starting.

    Returns:
        Markdown.
    """
    lines = ["| | pictures | pictures/s | seconds |", "|---|---:|---:|---:|"]
    for kind in ("encoded", "drawn"):
        for one in record[kind]:
            note = f", {one['together']} together" if "together" in one else ""
            note += f", {one['broken']} broken" if one.get("broken") else ""
            vae = one.get("vae_pictures_per_second")
            note += f" (the VAE alone: {vae:.3g} pictures/s)" if vae else ""
            cells = [f"{kind}: {one['title']}{note}", str(one["pictures"])]
            cells += [f"{one['pictures_per_second']:.3g}", f"{one['seconds']:.3g}"]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [f"| `{name}` | | | {seconds:.2f} |" for name, seconds in record["starts"].items()]
    return "\n".join(lines)


def _line(case: Mapping[str, Any]) -> str:
    systems = case["arms"]
    cells = [case["title"], *(_rate(case, system) for system in GPU_ARMS)]
    cells[4] = f"**{cells[4]}**" if cells[4] else ""
    if VENEER not in systems:
        return "| " + " | ".join([*cells, *[""] * 6]) + " |"
    seconds = gpu_median(case, VENEER)
    cells.append(f"{seconds:.3g}")
    cells += [
        f"{gpu_median(case, system) / seconds:.2f}" if system in systems else "" for system in (PLAIN, CACHED)
    ]
    cells.append(f"{100 * _share(case):.0f} %")
    cells.append(f"{_peak(case):.2f} ({systems[VENEER]['reserved_gib']:.1f})")
    cells.append(f"{systems[VENEER]['seconds_to_first_turn']:.1f}")
    return "| " + " | ".join(cells) + " |"


def _rate(case: Mapping[str, Any], system: str) -> str:
    if system in case["failed"]:
        return "failed"
    return f"{case['batch_size'] / gpu_median(case, system):.3g}" if system in case["arms"] else ""


def _aims(case: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    """What, how much, what was seen, and whether less is better."""
    systems, found = case["arms"], []
    if VENEER not in systems or case["name"] == POCKET or case["precision"] == "no":
        return []
    seconds, batch = gpu_median(case, VENEER), case["batch_size"]
    if case["resolution"] == 512 and batch <= 4:
        limits = ((PLAIN, 4.0), (CACHED, 3.5))
        found += [
            (f"speed against: {system}", aim, gpu_median(case, system) / seconds, False)
            for system, aim in limits
            if system in systems
        ]
    if case["resolution"] == 512 and batch >= 16:
        found.append(("pictures/s", 200.0, batch / seconds, False))
    if case["resolution"] == 1024:
        limit = 8.0 if case["gradient_checkpointing"] else 16.0
        found.append(("GiB", limit, _peak(case), True))
        if not case["gradient_checkpointing"]:
            found.append(("pictures/s", 27.0, batch / seconds, False))
    return found


def gpu_median(case: Mapping[str, Any], system: str) -> float:
    turns = [turn["seconds"] for turn in case["arms"][system]["turns"]]
    return statistics.median(turns[1:] or turns)


def _share(case: Mapping[str, Any]) -> float:
    best = min(gpu_median(case, system) for system in (VENEER, EAGER, COMPILED) if system in case["arms"])
    ceiling = statistics.median(case["ceiling_flop_per_second"])
    return float(case["flop_per_step"] / best / ceiling)


def _peak(case: Mapping[str, Any]) -> float:
    turns = case["arms"][VENEER]["turns"]
    return float(max(turn["peak_device_memory_gib"] or turn["peak_memory_gib"] for turn in turns))


def _decay(turns: Sequence[Mapping[str, float]]) -> float:
    seconds = [turn["seconds"] for turn in turns[1:]]
    count = min(DECAY_TURNS, max(1, len(seconds) // 2))
    return statistics.median(seconds[-count:]) / statistics.median(seconds[:count])
