"""All kernels through one door: after the adapter, and none where something else acts on a layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers.kernels import small_unet
from veneer.config import LoraTable
from veneer.kernels import convolution
from veneer.kernels.convolution import ProductConv2d
from veneer.kernels.fast import use_fast_kernels
from veneer.kernels.lora_linear import FusedLinear
from veneer.lora.adapter import attach, trainable
from veneer.training.tlora import RankMask

CPU = torch.device("cpu")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny network's convolutions count as large."""
    monkeypatch.setattr(convolution, "GAINS", {torch.float32: {64 * 64 * 9: 256}})


def adapted() -> Any:
    torch.manual_seed(0)
    unet = small_unet()
    attach(unet, LoraTable(rank=4, target_modules="attention+ff+conv"), seed=0)
    for name, parameter in trainable(unet).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


def count(unet: Any, kind: type) -> int:
    return sum(isinstance(module, kind) for module in unet.modules())


@pytest.mark.usefixtures("large")
def test_the_base_under_an_adapter_gets_them_and_predicts_the_same() -> None:
    unet, inputs = adapted(), (torch.randn(1, 4, 8, 8), torch.tensor([700]), torch.randn(1, 77, 32))
    before, names = unet(*inputs).sample, list(trainable(unet))
    changed = use_fast_kernels(unet, CPU, torch.float32)
    assert (count(unet, ProductConv2d), count(unet, FusedLinear)) == (10, changed - 10)
    assert changed > 10
    assert list(trainable(unet)) == names
    torch.testing.assert_close(unet(*inputs).sample, before, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("large")
def test_layers_with_masked_ranks_and_those_for_a_compiler_are_left_to_peft() -> None:
    masked = adapted()
    RankMask(masked, 1000)
    use_fast_kernels(masked, CPU, torch.float32)
    assert count(masked, FusedLinear) == 0
    compiled = adapted()
    assert use_fast_kernels(compiled, CPU, torch.float32, fuse_lora=False) == count(compiled, ProductConv2d)
    assert count(compiled, FusedLinear) == 0
