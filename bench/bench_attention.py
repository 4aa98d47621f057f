"""Attention for training on a CPU: torch's two kernels and Veneer's, forward and backward, against float64.

    python -m bench.bench_attention [--repeats 5] [--results FOLDER]

Processor time of this process, not time on the clock, so that other programs disturb it little; run it with
``OMP_NUM_THREADS=1``. The kernels take turns. Writes ``bench/results/attention_HARDWARE_DATE.{json,md}``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.machine import machine_name
from veneer.launch import set_threads
from veneer.models.attention import block_attention
from veneer.rundir import write_json, write_text
from veneer.versions import hardware, versions

RESULTS = Path(__file__).parent / "results"
SHAPES = {
    "SD 1.5, 512 px, level 1, self": (8, 4096, 4096, 40),
    "SD 1.5, 512 px, level 1, text": (8, 4096, 77, 40),
    "SD 1.5, 512 px, level 2, self": (8, 1024, 1024, 80),
    "SD 1.5, 512 px, level 2, text": (8, 1024, 77, 80),
    "SD 1.5, 512 px, level 3, self": (8, 256, 256, 160),
    "SD 1.5, 512 px, level 3, text": (8, 256, 77, 160),
    "pocket, batch 8, 8 x 8, self": (32, 64, 64, 32),
    "pocket, batch 8, 8 x 8, text": (32, 64, 77, 32),
    "pocket, batch 8, 4 x 4, self": (32, 16, 16, 48),
}
"""Items times heads, queries, keys, features of a head."""
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def torchs(backend: SDPBackend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention by one of torch's kernels.

    Args:
        backend: The kernel.
        query: Shape (N, L, D).
        key: Shape (N, S, D).
        value: Shape (N, S, D).

    Returns:
        Shape (N, L, D).
    """
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]


def blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Veneer's attention, with the scale that torch takes by itself.

    Args:
        query: Shape (N, L, D).
        key: Shape (N, S, D).
        value: Shape (N, S, D).

    Returns:
        Shape (N, L, D).
    """
    return block_attention(query, key, value, query.shape[-1] ** -0.5)


KERNELS: dict[str, Kernel] = {
    "torch flash": partial(torchs, SDPBackend.FLASH_ATTENTION),
    "torch math": partial(torchs, SDPBackend.MATH),
    "Veneer": blocks,
}


def measure(shape: tuple[int, int, int, int], dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Time the kernels in turns, and hold them against float64.

    Args:
        shape: One of `SHAPES`.
        dtype: Precision.
        repeats: How often.

    Returns:
        By kernel: milliseconds forward and backward, medians, and the largest relative error of the result
        and its three gradients.
    """
    items, queries, keys, width = shape
    drawn = [torch.randn(items, n, width).to(dtype) for n in (queries, keys, keys)]
    grad = torch.randn(items, queries, width).to(dtype)
    wanted = _exactly(drawn, grad)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in KERNELS}
    errors = {}
    for _ in range(repeats + 1):
        for name, kernel in KERNELS.items():
            inputs = [tensor.clone().requires_grad_() for tensor in drawn]
            start = time.process_time()
            result = kernel(*inputs)
            middle = time.process_time()
            result.backward(grad)
            seconds[name].append((middle - start, time.process_time() - middle))
            seen = [result, *(tensor.grad for tensor in inputs)]
            errors[name] = max(_error(a, b) for a, b in zip(seen, wanted, strict=True))
    return {
        name: {
            "forward_ms": 1e3 * statistics.median(forward for forward, _ in pairs[1:]),
            "backward_ms": 1e3 * statistics.median(backward for _, backward in pairs[1:]),
            "error": errors[name],
        }
        for name, pairs in seconds.items()
    }


def _exactly(drawn: list[Tensor], grad: Tensor) -> list[Tensor]:
    """Result and gradients in float64, one item at a time to save memory."""
    parts: list[list[Tensor]] = []
    for number in range(len(grad)):
        query, key, value = (tensor[number].double().requires_grad_() for tensor in drawn)
        result = torch.softmax(query @ key.T * query.shape[-1] ** -0.5, -1) @ value
        gradients = torch.autograd.grad(result, (query, key, value), grad[number].double())
        parts.append([result.detach(), *gradients])
    return [torch.stack(tensors) for tensors in zip(*parts, strict=True)]


def _error(seen: Tensor | None, wanted: Tensor) -> float:
    assert seen is not None
    return float((seen.detach().double() - wanted).norm() / wanted.norm())


def document(record: dict[str, Any]) -> str:
    """Say it in a table.

    Args:
        record: Content of the JSON file.

    Returns:
        Markdown.
    """
    machine = record["hardware"]
    lines = [
        "# Attention for training on a CPU",
        "",
        f"{record['date']}; {machine['processor']}, {record['threads']} thread(s); torch "
        f"{record['versions']['torch']}; load average before the run {record['load_before']}. "
        f"Command: `{record['command']}`.",
        f"Milliseconds of processor time, forward + backward, medians of {record['repeats']} turns after one "
        "to warm up; in brackets the largest relative error of result and gradients against float64.",
        "",
        "| precision | size | " + " | ".join(KERNELS) + " | Veneer / flash |",
        "|---|---|" + "---:|" * (len(KERNELS) + 1),
    ]
    for row in record["rows"]:
        found = row["kernels"]
        cells = [
            f"{one['forward_ms']:.3g} + {one['backward_ms']:.3g} ({one['error']:.1e})"
            for one in found.values()
        ]
        total = {name: one["forward_ms"] + one["backward_ms"] for name, one in found.items()}
        ratio = f"{total['Veneer'] / total['torch flash']:.2f}"
        lines.append("| " + " | ".join([row["precision"], row["size"], *cells, ratio]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    set_threads()
    torch.manual_seed(0)
    load = round(os.getloadavg()[0], 1)
    rows = []
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        for size, shape in SHAPES.items():
            rows.append(
                {"precision": precision, "size": size, "kernels": measure(shape, dtype, options.repeats)}
            )
    machine, date = hardware(), datetime.datetime.now(datetime.UTC).date().isoformat()
    record = {
        "date": date,
        "command": f"python -m bench.bench_attention --repeats {options.repeats}",
        "hardware": machine,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "load_before": load,
        "repeats": options.repeats,
        "rows": rows,
    }
    name = machine_name()
    write_json(options.results / f"attention_{name}_{date}.json", record)
    write_text(options.results / f"attention_{name}_{date}.md", document(record))
    print(options.results / f"attention_{name}_{date}.md")


if __name__ == "__main__":
    main()
