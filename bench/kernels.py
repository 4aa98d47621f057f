"""Kernels held against each other in turns, forward and backward: what two benches share."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.machine import RESULTS
from veneer.machine import has_bf16_instructions, set_threads

Kernel = Callable[..., Tensor]


def measure_in_turns(
    kernels: Mapping[str, Kernel],
    drawn: Sequence[Tensor],
    grad: Tensor,
    wanted: Sequence[Tensor],
    repeats: int,
) -> dict[str, Any]:
    """Time kernels in turns, and hold them against the truth.

    Args:
        kernels: By name; each maps the inputs to a result.
        drawn: The inputs, any shapes.
        grad: Gradient of the result, of its shape.
        wanted: The result and the gradient of each input, float64.
        repeats: Turns of each kernel after one to warm up, >= 1.

    Returns:
        By kernel: milliseconds of processor time forward and backward, medians, and the largest relative
        error of the result and the gradients.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in kernels}
    errors = {}
    for _ in range(repeats + 1):
        for name, kernel in kernels.items():
            inputs = [tensor.clone().requires_grad_() for tensor in drawn]
            start = time.process_time()
            result = kernel(*inputs)
            middle = time.process_time()
            gradients = torch.autograd.grad(result, inputs, grad)
            seconds[name].append((middle - start, time.process_time() - middle))
            errors[name] = max(_error(*pair) for pair in zip((result, *gradients), wanted, strict=True))
    return {
        name: {
            "forward_ms": 1e3 * statistics.median(forward for forward, _ in pairs[1:]),
            "backward_ms": 1e3 * statistics.median(backward for _, backward in pairs[1:]),
            "error": errors[name],
        }
        for name, pairs in seconds.items()
    }


def _error(seen: Tensor, wanted: Tensor) -> float:
    seen, wanted = seen.detach().double(), wanted.detach()
    return float((seen - wanted).norm() / wanted.norm())


def cells(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A table's cells, one for each kernel.

    Args:
        found: What `measure_in_turns` gave.

    Returns:
        ``forward + backward (error)``.
    """
    return [
        f"{one['forward_ms']:.3g} + {one['backward_ms']:.3g} ({one['error']:.1e})" for one in found.values()
    ]


def ratio(found: Mapping[str, Mapping[str, float]], name: str, other: str) -> str:
    """Time of a kernel as a share of another's.

    Args:
        found: What `measure_in_turns` gave.

    Returns:
        Two decimals.
    """
    total = {key: one["forward_ms"] + one["backward_ms"] for key, one in found.items()}
    return f"{total[name] / total[other]:.2f}"


def opening(title: str, record: Mapping[str, Any], errors: str) -> list[str]:
    """The first lines of a document.

    Args:
        record: What was measured.
        errors: What is in brackets.

    Returns:
        Lines of Markdown.
    """
    return [
        f"# {title}",
        "",
        f"{record['date']}; {record['hardware']['processor']}, {record['threads']} thread(s); torch "
        f"{record['versions']['torch']}; load average before the run {record['load_before']}. "
        f"Command: `{record['command']}`.",
        f"Milliseconds of processor time, forward + backward, medians of {record['repeats']} turns after one "
        f"to warm up; in brackets {errors}, relative, against float64.",
    ]


def precisions() -> dict[str, torch.dtype]:
    """What is measured here.

    Returns:
        float32, and bf16 where the processor has it.
    """
    half = {"bf16": torch.bfloat16} if has_bf16_instructions() else {}
    return half | {"fp32": torch.float32}


def begin(about: str | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line and set torch up.

    Args:
        about: The bench's own docstring.

    Returns:
        The options ``repeats`` and ``results``, and what the record says of the run.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    set_threads()
    torch.manual_seed(0)
    load = round(os.getloadavg()[0], 1)
    return options, {
        "threads": torch.get_num_threads(),
        "load_before": load,
        "repeats": options.repeats,
    }
