"""Convolutions over few places as one product: the numbers of float64, and the same layer in all else."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from helpers.kernels import relative_error, small_unet
from veneer.kernels import convolution
from veneer.kernels.convolution import ProductConv2d, convolve, is_gain, use_fast_convolutions

CPU = torch.device("cpu")


@pytest.fixture
def unet() -> Any:
    return small_unet()


@pytest.mark.parametrize(("items", "side"), [(1, 16), (4, 8), (3, 5)])
@pytest.mark.parametrize(("stride", "has_bias"), [(1, True), (1, False), (2, True)])
def test_values_and_gradients_are_those_of_float64(
    monkeypatch: pytest.MonkeyPatch, items: int, side: int, stride: int, has_bias: bool
) -> None:
    monkeypatch.setattr(convolution, "GAINS", {torch.float32: {0: 256}})
    torch.manual_seed(1)
    plain = nn.Conv2d(48, 40, 3, stride, padding=1, bias=has_bias).requires_grad_(False)
    layer = ProductConv2d.of(plain)
    states = torch.randn(items, 48, side, side, requires_grad=True)
    doubles = states.detach().double().requires_grad_()
    out, wanted = layer(states), copy.deepcopy(plain).double()(doubles)
    grad = torch.randn(out.shape)
    out.backward(grad)
    wanted.backward(grad.double())
    assert relative_error(out, wanted) < 1e-6
    assert relative_error(states.grad, doubles.grad) < 1e-6


@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_rounds_no_worse_than_torchs_own(stride: int) -> None:
    torch.manual_seed(1)
    plain = nn.Conv2d(256, 192, 3, stride, padding=1).requires_grad_(False).bfloat16()
    states = torch.randn(2, 256, 8, 8).bfloat16().requires_grad_()
    doubles = states.detach().double().requires_grad_()
    own = states.detach().clone().requires_grad_()
    wanted = copy.deepcopy(plain).double()(doubles)
    grad = torch.randn(wanted.shape).bfloat16()
    out, torchs = convolve(states, plain.weight, plain.bias, stride=stride), plain(own)
    for result, given in ((out, grad), (torchs, grad), (wanted, grad.double())):
        result.backward(given)
    assert out.dtype == states.grad.dtype == torch.bfloat16
    assert relative_error(out, wanted) < 1.2 * relative_error(torchs, wanted)
    assert relative_error(states.grad, doubles.grad) < 1.8 * relative_error(own.grad, doubles.grad)


def test_only_few_places_are_multiplied_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "GAINS", {torch.float32: {0: 256}})
    layer = ProductConv2d.of(nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False))
    seen = []
    product = convolution._Product.apply
    monkeypatch.setattr(
        convolution._Product, "apply", lambda *args: seen.append(args[0].shape) or product(*args)
    )
    for shape in ((1, 8, 16, 16), (2, 8, 16, 16), (1, 8, 17, 16)):
        layer(torch.zeros(shape))
    assert seen == [(1, 8, 16, 16)]


def test_a_unet_keeps_its_names_and_predicts_the_same(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "GAINS", {torch.float32: {64 * 64 * 9: 256}})
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([700]), torch.randn(1, 77, 32)
    names, before = list(unet.state_dict()), unet(*inputs).sample
    assert use_fast_convolutions(unet, CPU, torch.float32) == 10
    after = unet(*inputs).sample
    assert list(unet.state_dict()) == names
    assert relative_error(after, before.double()) < 1e-5


def test_small_trained_and_other_ones_stay(unet: Any) -> None:
    assert use_fast_convolutions(unet, CPU, torch.float32) == 0
    wide = nn.Sequential(
        nn.Conv2d(700, 700, 3, stride=3, padding=1), nn.Conv2d(2100, 2100, 1)
    ).requires_grad_(False)
    assert use_fast_convolutions(wide, CPU, torch.float32) == 0
    assert use_fast_convolutions(nn.Sequential(nn.Conv2d(700, 700, 3, padding=1)), CPU, torch.float32) == 0


def test_in_bfloat16_more_weights_gain_over_more_places() -> None:
    joined, plain = (torch.empty(1280, c, 3, 3, dtype=torch.bfloat16, device="meta") for c in (2560, 1280))
    small, large = (torch.empty(1, 1280, side, side, device="meta") for side in (8, 16))
    assert [is_gain(small, joined, 1), is_gain(large, joined, 1)] == [True, True]
    assert [is_gain(small, plain, 1), is_gain(large, plain, 1), is_gain(large, plain, 2)] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float16), ("cuda", torch.float32)])
def test_other_devices_and_precisions_keep_torchs_own(
    unet: Any, monkeypatch: pytest.MonkeyPatch, device: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(convolution, "GAINS", {torch.float32: {0: 256}})
    assert use_fast_convolutions(unet, torch.device(device), dtype) == 0
