"""The switches for equal bits: set in the block on a GPU, left alone on a CPU, and put back."""

from __future__ import annotations

import pytest
import torch

from veneer import launch
from veneer.errors import RecipeError
from veneer.training.exactness import same_bits


def switches() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)


def test_a_gpu_is_asked_for_equal_bits_in_the_block_alone(gpu) -> None:
    assert switches() == (False, False, True)
    with same_bits(wanted=False):
        assert switches() == (False, False, True)
    with same_bits(wanted=True):
        assert switches() == (True, True, False)
    assert switches() == (False, False, True)


def test_a_cpu_has_them_anyway() -> None:
    before = switches()
    with same_bits(wanted=True):
        assert switches() == before


def test_a_kernel_that_is_missing_is_told_with_the_setting(gpu) -> None:
    message = "some_kernel does not have a deterministic implementation, but you set something. Else ..."
    with pytest.raises(RecipeError, match="some_kernel") as told, same_bits(wanted=True):
        raise RuntimeError(message)
    assert told.value.where == "train.deterministic"
    assert switches() == (False, False, True)
    with pytest.raises(RuntimeError, match="other"), same_bits(wanted=True):
        raise RuntimeError("other")
