"""A profile says which work takes the time, and leaves a trace."""

import json
from pathlib import Path

import torch

from veneer.events import Progress, StepEvent
from veneer.training.profile import OTHER, STEPS, WARM_UP_STEPS, Operation, StepProfile


def step(number: int) -> StepEvent:
    return StepEvent(number, 0.1, 1e-4, 1.0, 1.0, 2.0, 0.5)


def work() -> torch.Tensor:
    convolution = torch.nn.Conv2d(8, 8, 3)
    attended = torch.nn.functional.scaled_dot_product_attention(*(torch.randn(1, 2, 64, 8),) * 3)
    return convolution(torch.randn(4, 8, 32, 32)).sum() + attended.sum()


def test_trace_and_table_hold_the_steps_after_the_warm_up(tmp_path: Path) -> None:
    profile = StepProfile(tmp_path / "profile")
    for number in range(1, WARM_UP_STEPS + STEPS + 3):
        work()
        profile.on_event(step(number))
        profile.on_event(Progress("train", number))
    profile.close()
    assert f"Mean of {STEPS} steps" in profile.table
    assert "| convolutions |" in profile.table
    assert profile.table in (tmp_path / "profile" / "profile.md").read_text()
    events = json.loads((tmp_path / "profile" / "trace.json").read_text())["traceEvents"]
    assert sum(event["name"] == "aten::conv2d" for event in events) == STEPS


def test_a_training_that_ends_early_leaves_none(tmp_path: Path) -> None:
    profile = StepProfile(tmp_path / "profile")
    for number in range(1, WARM_UP_STEPS + 2):
        profile.on_event(step(number))
    profile.close()
    assert profile.table is None
    assert not (tmp_path / "profile").exists()


def test_kinds_of_work() -> None:
    kinds = {
        "aten::mkldnn_convolution": "convolutions",
        "aten::_softmax_backward_data": "attention",
        "aten::bmm": "attention",
        "aten::addmm": "matrix products",
        "aten::mm": "matrix products",
        "aten::native_group_norm": "normalisation",
        "Optimizer.step#AdamW.step": "optimizer",
        "aten::copy_": "copies and casts",
        "aten::gelu": OTHER,
    }
    assert {name: Operation(name, 1, 1.0).kind for name in kinds} == kinds
