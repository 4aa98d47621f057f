"""How a GPU chooses its kernels: set in the block, left alone on a CPU, and put back."""

from __future__ import annotations

import pytest
import torch

from veneer import machine
from veneer.errors import RecipeError
from veneer.kernels.cudnn import choosing_kernels, trying


def switches() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


USUAL = (False, False, False)
SAME = {"is_one_shape": True, "same_bits": True}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "pick_device", lambda: torch.device("cuda"))


@pytest.mark.parametrize(
    ("is_one_shape", "same_bits", "inside"),
    [
        (True, False, (False, False, True)),
        (False, False, USUAL),
        (True, True, (True, True, False)),
    ],
)
def test_a_gpu_chooses_in_the_block_alone(
    gpu: None, is_one_shape: bool, same_bits: bool, inside: tuple[bool, bool, bool]
) -> None:
    assert switches() == USUAL
    with choosing_kernels(is_one_shape=is_one_shape, same_bits=same_bits):
        assert switches() == inside
        with trying(False):
            assert switches() == (*inside[:2], False)
        assert switches() == inside
    assert switches() == USUAL


@pytest.mark.parametrize("same_bits", [False, True])
def test_on_a_cpu_there_is_nothing_to_choose(same_bits: bool) -> None:
    with choosing_kernels(is_one_shape=True, same_bits=same_bits):
        assert switches() == USUAL


def test_a_kernel_that_is_missing_is_told_with_the_setting(gpu: None) -> None:
    message = "some_kernel does not have a deterministic implementation, but you set something. Else ..."
    with (
        pytest.raises(RecipeError, match="some_kernel") as told,
        choosing_kernels(**SAME),
    ):
        raise RuntimeError(message)
    assert told.value.where == "train.deterministic"
    assert switches() == USUAL
    with pytest.raises(RuntimeError, match="other"), choosing_kernels(**SAME):
        raise RuntimeError("other")
