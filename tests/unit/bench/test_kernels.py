"""Benches of kernels: every kernel is timed, and a wrong one is found out."""

import torch

from bench import bench_attention, bench_convolution
from bench.kernels import cells, measure_in_turns, ratio


def test_each_kernel_is_held_against_the_truth() -> None:
    drawn, grad = torch.randn(4, 3), torch.randn(4, 3)
    wanted = [2 * drawn.double(), 2 * grad.double()]
    kernels = {"right": lambda x: x + x, "wrong": lambda x: 2.5 * x}
    found = measure_in_turns(kernels, [drawn], grad, wanted, repeats=2)
    assert found["right"]["error"] < 1e-6
    assert 0.24 < found["wrong"]["error"] < 0.26
    assert all(one["forward_ms"] > 0 and one["backward_ms"] > 0 for one in found.values())
    assert len(cells(found)) == 2


def test_a_ratio_counts_forward_and_backward() -> None:
    found = {"a": {"forward_ms": 1.0, "backward_ms": 2.0}, "b": {"forward_ms": 4.0, "backward_ms": 2.0}}
    assert ratio(found, "a", "b") == "0.50"


def test_both_benches_measure_what_training_computes() -> None:
    convolutions = bench_convolution.measure((2, 8, 6, 5, 2), torch.float32, 1)
    attentions = bench_attention.measure((2, 6, 4, 8), torch.float32, 1)
    assert convolutions.keys() == {"torch", "Veneer"}
    assert all(one["error"] < 1e-5 for found in (convolutions, attentions) for one in found.values())


def test_the_table_marks_what_is_taken() -> None:
    shapes = bench_convolution.SHAPES
    taken = [name for name, shape in shapes.items() if bench_convolution.is_taken(shape, torch.float32)]
    assert taken == [name for name in shapes if "16 x 16" in name or "8 x 8" in name]
    half = [name for name, shape in shapes.items() if bench_convolution.is_taken(shape, torch.bfloat16)]
    assert half == [name for name in taken if "joined" in name or ("8 x 8" in name and "batch" not in name)]
    assert not any(bench_convolution.is_taken(shape, torch.float16) for shape in shapes.values())
