"""Large frozen convolutions over few places on a CPU: torch's own choice and Veneer's product.

    python -m bench.bench_convolution [--repeats 5] [--results FOLDER]

Forward, and backward to the states. Processor time of this process; run it with ``OMP_NUM_THREADS=1``. The
kernels take turns. bf16 is measured where the processor has it, also where Veneer leaves it to torch. Writes
``bench/results/convolution_HARDWARE_DATE.{json,md}``.
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

from bench.machine import machine_name
from veneer.launch import set_threads
from veneer.models.convolution import convolve, has_few_places, is_large
from veneer.rundir import write_json, write_text
from veneer.training.fitting import this_machine
from veneer.versions import hardware, versions

RESULTS = Path(__file__).parent / "results"
SHAPES = {
    "SD 1.5, 512 px, 64 x 64": (1, 320, 320, 64, 1),
    "SD 1.5, 512 px, 32 x 32": (1, 640, 640, 32, 1),
    "SD 1.5, 512 px, 16 x 16": (1, 1280, 1280, 16, 1),
    "SD 1.5, 512 px, 16 x 16, joined": (1, 2560, 1280, 16, 1),
    "SD 1.5, 512 px, 16 x 16 to 8 x 8": (1, 1280, 1280, 16, 2),
    "SD 1.5, 512 px, 8 x 8": (1, 1280, 1280, 8, 1),
    "SD 1.5, 512 px, 8 x 8, joined": (1, 2560, 1280, 8, 1),
    "SD 1.5, 512 px, 8 x 8, batch 4": (4, 1280, 1280, 8, 1),
    "pocket, batch 8, 4 x 4": (8, 192, 192, 4, 1),
}
"""Items, channels in and out, side of the states that go in, stride."""
TORCH, VENEER = "torch", "Veneer"
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure(shape: tuple[int, int, int, int, int], dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Time the kernels in turns, and hold them against float64.

    Args:
        shape: One of `SHAPES`.
        dtype: Precision.
        repeats: How often.

    Returns:
        By kernel: milliseconds forward and backward, medians, and the larger relative error of the result
        and the gradient.
    """
    items, channels, out, side, stride = shape
    drawn = torch.randn(items, channels, side, side).to(dtype)
    weight = (torch.randn(out, channels, 3, 3) / (9 * channels) ** 0.5).to(dtype)
    bias = torch.randn(out).to(dtype)
    kernels: dict[str, Kernel] = {
        TORCH: partial(F.conv2d, stride=stride, padding=1),
        VENEER: partial(convolve, stride=stride),
    }
    double = drawn.double().requires_grad_()
    exact = F.conv2d(double, weight.double(), bias.double(), stride, 1)
    grad = torch.randn(exact.shape).to(dtype)
    (exact_grad,) = torch.autograd.grad(exact, double, grad.double())
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in kernels}
    errors = {}
    for _ in range(repeats + 1):
        for name, kernel in kernels.items():
            states = drawn.clone().requires_grad_()
            start = time.process_time()
            result = kernel(states, weight, bias)
            middle = time.process_time()
            (own_grad,) = torch.autograd.grad(result, states, grad)
            seconds[name].append((middle - start, time.process_time() - middle))
            errors[name] = max(_error(result, exact), _error(own_grad, exact_grad))
    return {
        name: {
            "forward_ms": 1e3 * statistics.median(forward for forward, _ in pairs[1:]),
            "backward_ms": 1e3 * statistics.median(backward for _, backward in pairs[1:]),
            "error": errors[name],
        }
        for name, pairs in seconds.items()
    }


def _error(seen: Tensor, wanted: Tensor) -> float:
    return float((seen.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


def document(record: dict[str, Any]) -> str:
    """Say it in a table.

    Args:
        record: Content of the JSON file.

    Returns:
        Markdown.
    """
    machine = record["hardware"]
    lines = [
        "# Large convolutions over few places on a CPU",
        "",
        f"{record['date']}; {machine['processor']}, {record['threads']} thread(s); torch "
        f"{record['versions']['torch']}; load average before the run {record['load_before']}. "
        f"Command: `{record['command']}`.",
        f"Milliseconds of processor time, forward + backward, medians of {record['repeats']} turns after one "
        "to warm up; in brackets the larger relative error of result and gradient against float64. Rows that "
        f"are not marked are left to torch.{'' if record['has_bf16'] else ' The processor has no bf16.'}",
        "",
        "| precision | places | torch | Veneer | Veneer / torch | taken |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in record["rows"]:
        found = row["kernels"]
        cells = [
            f"{one['forward_ms']:.3g} + {one['backward_ms']:.3g} ({one['error']:.1e})"
            for one in found.values()
        ]
        total = {name: one["forward_ms"] + one["backward_ms"] for name, one in found.items()}
        cells += [f"{total[VENEER] / total[TORCH]:.2f}", "yes" if row["is_taken"] else ""]
        lines.append("| " + " | ".join([row["precision"], row["size"], *cells]) + " |")
    return "\n".join(lines) + "\n"


def is_taken(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> bool:
    """Whether training computes this convolution by Veneer's product.

    Args:
        shape: One of `SHAPES`.
        dtype: Precision.

    Returns:
        The rule's answer.
    """
    items, channels, out, side, stride = shape
    layer = torch.nn.Conv2d(channels, out, 3, stride, padding=1, device="meta").requires_grad_(False)
    return (
        dtype == torch.float32 and is_large(layer) and has_few_places((items, channels, side, side), stride)
    )


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
    load, has_bf16 = round(os.getloadavg()[0], 1), this_machine().has_bf16
    precisions = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16 else {})
    rows = [
        {
            "precision": precision,
            "size": size,
            "kernels": measure(shape, dtype, options.repeats),
            "is_taken": is_taken(shape, dtype),
        }
        for precision, dtype in precisions.items()
        for size, shape in SHAPES.items()
    ]
    machine, date = hardware(), datetime.datetime.now(datetime.UTC).date().isoformat()
    record = {
        "date": date,
        "command": f"python -m bench.bench_convolution --repeats {options.repeats}",
        "hardware": machine,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "load_before": load,
        "repeats": options.repeats,
        "has_bf16": has_bf16,
        "rows": rows,
    }
    name = machine_name()
    write_json(options.results / f"convolution_{name}_{date}.json", record)
    write_text(options.results / f"convolution_{name}_{date}.md", document(record))
    print(options.results / f"convolution_{name}_{date}.md")


if __name__ == "__main__":
    main()
