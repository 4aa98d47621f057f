"""Attention for training on a CPU: torch's two kernels and Veneer's, forward and backward, against float64.

    python -m bench.bench_attention [--repeats 5] [--results FOLDER]

Processor time of this process, not time on the clock, so that other programs disturb it little; run it with
``OMP_NUM_THREADS=1``. The kernels take turns. Writes ``bench/results/attention_HARDWARE_DATE.{json,md}``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.kernels import Kernel, begin, cells, measure_in_turns, opening, precisions, ratio
from bench.machine import setting, write_results
from veneer.kernels.attention import AttentionBuffer, block_attention

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


def torchs(backend: SDPBackend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention by one of torch's kernels.

    Args:
        query: Shape (N, L, D).
        key: Shape (N, S, D).
        value: Shape (N, S, D).

    Returns:
        Shape (N, L, D).
    """
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]


def blocks(shelf: AttentionBuffer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Veneer's attention, with the scale that torch takes by itself.

    Args:
        shelf: Where weights wait for the backward pass.
        query: Shape (N, L, D).
        key: Shape (N, S, D).
        value: Shape (N, S, D).

    Returns:
        Shape (N, L, D).
    """
    return block_attention(query, key, value, query.shape[-1] ** -0.5, shelf)


VENEER = "Veneer"
KERNELS: dict[str, Kernel] = {
    "torch flash": partial(torchs, SDPBackend.FLASH_ATTENTION),
    "torch math": partial(torchs, SDPBackend.MATH),
    "Veneer, weights computed again": partial(blocks, AttentionBuffer()),
    VENEER: partial(blocks, AttentionBuffer(2**40)),
}


def measure(shape: tuple[int, int, int, int], dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Time the kernels in turns, and hold them against float64.

    Args:
        repeats: How often.

    Returns:
        By kernel: milliseconds forward and backward, medians, and the largest relative error of the result
        and its three gradients.
    """
    items, queries, keys, width = shape
    drawn = [torch.randn(items, n, width).to(dtype) for n in (queries, keys, keys)]
    grad = torch.randn(items, queries, width).to(dtype)
    return measure_in_turns(KERNELS, drawn, grad, _exactly(drawn, grad), repeats)


def _exactly(drawn: list[Tensor], grad: Tensor) -> list[Tensor]:
    """Result and gradients in float64, one item at a time to save memory."""
    parts: list[list[Tensor]] = []
    for number in range(len(grad)):
        query, key, value = (tensor[number].double().requires_grad_() for tensor in drawn)
        result = torch.softmax(query @ key.T * query.shape[-1] ** -0.5, -1) @ value
        gradients = torch.autograd.grad(result, (query, key, value), grad[number].double())
        parts.append([result.detach(), *gradients])
    return [torch.stack(tensors) for tensors in zip(*parts, strict=True)]


def document(record: dict[str, Any]) -> str:
    """Say it in a table.

    Returns:
        Markdown.
    """
    lines = [
        *opening("Attention for training on a CPU", record, "the largest error of result and gradients"),
        "",
        "| precision | size | " + " | ".join(KERNELS) + " | Veneer / flash |",
        "|---|---|" + "---:|" * (len(KERNELS) + 1),
    ]
    for row in record["rows"]:
        found = row["kernels"]
        shown = [*cells(found), ratio(found, VENEER, "torch flash")]
        lines.append("| " + " | ".join([row["precision"], row["size"], *shown]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the document."""
    options, setup = begin(__doc__)
    rows = []
    for precision, dtype in precisions().items():
        for size, shape in SHAPES.items():
            rows.append(
                {"precision": precision, "size": size, "kernels": measure(shape, dtype, options.repeats)}
            )
    command = f"python -m bench.bench_attention --repeats {options.repeats}"
    record = setting(command) | setup | {"rows": rows}
    print(write_results("attention", record, document(record), options.results))


if __name__ == "__main__":
    main()
