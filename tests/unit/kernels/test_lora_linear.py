"""A linear layer and its LoRA as one function: peft's numbers, and peft's own layer where more is asked."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from helpers.kernels import relative_error, small_unet
from veneer.config import LoraTable
from veneer.kernels import lora_linear
from veneer.kernels.lora_linear import FusedLinear, use_fused_layers
from veneer.lora.adapter import adapter_state, attach, detached, set_scale, trainable
from veneer.training.tlora import RankMask

CPU = torch.device("cpu")


def adapted(**settings: Any) -> Any:
    unet = small_unet()
    attach(unet, LoraTable(**settings), seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, part in trainable(unet).items():
        if "lora_B" in name:
            nn.init.normal_(part, std=0.1, generator=generator)
    return unet


def step(unet: Any, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    noisy, states = (torch.randn(s, generator=generator) for s in ((2, 4, 8, 8), (2, 77, 32)))
    out = unet(noisy.to(dtype), torch.tensor([3, 800]), states.to(dtype)).sample.float()
    unet.zero_grad()
    out.square().mean().backward()
    return out.detach(), {name: part.grad.clone() for name, part in trainable(unet).items()}


def test_values_and_gradients_are_pefts() -> None:
    unet = adapted(rank=4, lora_alpha=6)
    before, wanted = step(unet)
    assert use_fused_layers(unet, CPU, torch.float32) == 32
    after, grads = step(unet)
    assert relative_error(after, before) < 1e-5
    assert grads.keys() == wanted.keys()
    assert max(relative_error(grads[name], wanted[name]) for name in wanted) < 1e-4


def test_in_bfloat16_they_are_within_its_rounding_and_adapters_stay_float32() -> None:
    """Each error is held against float32: neither is the truth."""
    exact = step(adapted(rank=4, lora_alpha=6))
    unet = adapted(rank=4, lora_alpha=6)
    unet.to(torch.bfloat16)
    for part in trainable(unet).values():
        part.data = part.data.float()
    pefts = half_step(unet)
    assert use_fused_layers(unet, CPU, torch.bfloat16) == 32
    fused_ones = half_step(unet)
    assert not torch.equal(fused_ones[0], pefts[0])
    assert relative_error(fused_ones[0], exact[0]) < 1.2 * relative_error(pefts[0], exact[0])
    norms = [
        sum(relative_error(found[name], exact[1][name]) for name in exact[1])
        for found in (fused_ones[1], pefts[1])
    ]
    assert norms[0] < 1.2 * norms[1]
    assert {grad.dtype for grad in fused_ones[1].values()} == {torch.float32}


def half_step(unet: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    with torch.autocast("cpu", torch.bfloat16):
        return step(unet, torch.bfloat16)


def test_the_function_is_right_in_float64() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(s, dtype=torch.float64) for s in ((7, 5), (6, 5), (6,), (2, 5), (6, 2))]
    for part in (inputs[0], *inputs[3:]):
        part.requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: lora_linear._Fused.apply(*args, 1.7), inputs)
    assert torch.autograd.gradcheck(
        lambda x, w, a, b: lora_linear._Fused.apply(x, w, None, a, b, 0.3), [inputs[i] for i in (0, 1, 3, 4)]
    )


def test_switched_off_it_is_the_base_to_the_bit_and_the_scale_counts() -> None:
    unet = adapted(rank=4)
    base = copy.deepcopy(unet)
    use_fused_layers(unet, CPU, torch.float32)
    with detached(unet), detached(base):
        assert torch.equal(_out(unet), _out(base))
    for scale in (0.0, 0.5, 2.0):
        set_scale(unet, scale)
        set_scale(base, scale)
        assert relative_error(_out(unet), _out(base)) < 1e-5
    assert adapter_state(unet).keys() == adapter_state(base).keys()


def _out(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return unet(
            torch.randn((1, 4, 8, 8), generator=generator),
            torch.tensor([500]),
            torch.randn((1, 77, 32), generator=generator),
        ).sample


@pytest.mark.parametrize("settings", [{"dropout": 0.1}, {"use_dora": True}])
def test_dropout_and_dora_stay_with_peft(settings: dict[str, Any]) -> None:
    assert use_fused_layers(adapted(rank=4, **settings), CPU, torch.float32) == 0


def test_masked_ranks_stay_with_peft() -> None:
    unet = adapted(rank=4)
    RankMask(unet, 1000)
    assert use_fused_layers(unet, CPU, torch.float32) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_has_it_in_every_precision(dtype: torch.dtype) -> None:
    assert use_fused_layers(adapted(rank=4), torch.device("cuda"), dtype) == 32


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float16), ("mps", torch.float32)])
def test_other_devices_and_precisions_stay_with_peft(device: str, dtype: torch.dtype) -> None:
    unet = adapted(rank=4)
    assert use_fused_layers(unet, torch.device(device), dtype) == 0
    assert not any(isinstance(layer, FusedLinear) for layer in unet.modules())
