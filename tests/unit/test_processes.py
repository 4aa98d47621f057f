"""Processes: their shares, their sums, and what they run on."""

from __future__ import annotations

import pytest
import torch

from veneer import processes
from veneer.errors import RecipeError


def test_shards_are_disjoint_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.shard([1, 2, 3]) == [1, 2, 3]
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        parts.append(processes.shard(list(range(5))))
    assert parts == [[0, 2, 4], [1, 3]]
    assert not processes.is_main_process()


def test_sums_of_one_process_are_its_own() -> None:
    tensor = torch.ones(3)
    processes.sum_in_place([tensor])
    assert processes.share_numbers([1.5, 2]) == [1.5, 2]
    assert tensor.tolist() == [1, 1, 1]
    processes.wait_for_everyone()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_fp16_on_a_cpu_says_what_to_take_instead() -> None:
    with pytest.raises(RecipeError, match="bf16"):
        processes.accelerator("fp16")


@pytest.mark.parametrize(("kind", "cast"), [("cpu", "bf16"), ("cuda", "no")])
def test_only_a_cpu_casts_by_itself(monkeypatch: pytest.MonkeyPatch, kind: str, cast: str) -> None:
    asked: list[str] = []
    monkeypatch.setattr(processes, "pick_device", lambda: torch.device(kind))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(processes, "Accelerator", lambda mixed_precision, cpu: asked.append(mixed_precision))
    processes.accelerator("bf16")
    assert asked == [cast]
