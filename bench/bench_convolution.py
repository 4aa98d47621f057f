"""Large frozen convolutions over few places on a CPU: torch's own choice and Veneer's product.

    python -m bench.bench_convolution [--repeats 5] [--results FOLDER]

Forward, and backward to the states. Processor time of this process; run it with ``OMP_NUM_THREADS=1``. The
kernels take turns. bf16 is measured where the processor has it. Writes
``bench/results/convolution_HARDWARE_DATE.{json,md}``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from bench.kernels import Kernel, begin, cells, measure_in_turns, opening, precisions, ratio
from bench.machine import setting, write_results
from veneer.kernels.convolution import GAINS, convolve, is_gain, is_large

SHAPES = {
    "SD 1.5, 512 px, 64 x 64": (1, 320, 320, 64, 1),
    "SD 1.5, 512 px, 32 x 32": (1, 640, 640, 32, 1),
    "SD 1.5, 512 px, 16 x 16": (1, 1280, 1280, 16, 1),
    "SD 1.5, 512 px, 16 x 16, joined": (1, 2560, 1280, 16, 1),
    "SD 1.5, 512 px, 16 x 16, joined with 640": (1, 1920, 1280, 16, 1),
    "SD 1.5, 512 px, 16 x 16 to 8 x 8": (1, 1280, 1280, 16, 2),
    "SD 1.5, 512 px, 8 x 8": (1, 1280, 1280, 8, 1),
    "SD 1.5, 512 px, 8 x 8, joined": (1, 2560, 1280, 8, 1),
    "SD 1.5, 512 px, 8 x 8, batch 4": (4, 1280, 1280, 8, 1),
    "pocket, batch 8, 4 x 4": (8, 192, 192, 4, 1),
}
"""Items, channels in and out, side of the states that go in, stride."""
TORCH, VENEER = "torch", "Veneer"


def measure(shape: tuple[int, int, int, int, int], dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Time the kernels in turns, and hold them against float64.

    Args:
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
        TORCH: partial(F.conv2d, weight=weight, bias=bias, stride=stride, padding=1),
        VENEER: partial(convolve, weight=weight, bias=bias, stride=stride),
    }
    double = drawn.double().requires_grad_()
    exact = F.conv2d(double, weight.double(), bias.double(), stride, 1)
    grad = torch.randn(exact.shape).to(dtype)
    (exact_grad,) = torch.autograd.grad(exact, double, grad.double())
    return measure_in_turns(kernels, [drawn], grad, [exact, exact_grad], repeats)


def document(record: dict[str, Any]) -> str:
    """Say it in a table.

    Returns:
        Markdown.
    """
    lines = [
        *opening(
            "Large convolutions over few places on a CPU",
            record,
            "the larger error of result and gradient",
        ),
        "Rows that are not marked are left to torch.",
        "",
        "| precision | places | torch | Veneer | Veneer / torch | taken |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in record["rows"]:
        found = row["kernels"]
        shown = [*cells(found), ratio(found, VENEER, TORCH), "yes" if row["is_taken"] else ""]
        lines.append("| " + " | ".join([row["precision"], row["size"], *shown]) + " |")
    return "\n".join(lines) + "\n"


def is_taken(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> bool:
    """Whether training computes this convolution by Veneer's product.

    Returns:
        The rule's answer.
    """
    items, channels, out, side, stride = shape
    with torch.device("meta"):
        layer = torch.nn.Conv2d(channels, out, 3, stride, padding=1, dtype=dtype).requires_grad_(False)
        states = torch.empty(items, channels, side, side, dtype=dtype)
    return dtype in GAINS and is_large(layer, dtype) and is_gain(states, layer.weight, stride)


def main() -> None:
    """Measure, and write the document."""
    options, setup = begin(__doc__)
    rows = [
        {
            "precision": precision,
            "size": size,
            "kernels": measure(shape, dtype, options.repeats),
            "is_taken": is_taken(shape, dtype),
        }
        for precision, dtype in precisions().items()
        for size, shape in SHAPES.items()
    ]
    command = f"python -m bench.bench_convolution --repeats {options.repeats}"
    record = setting(command) | setup | {"rows": rows}
    print(write_results("convolution", record, document(record), options.results))


if __name__ == "__main__":
    main()
