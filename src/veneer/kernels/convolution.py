"""Convolutions over few places on a CPU: one matrix product with the weights as they lie.

oneDNN brings a convolution's weights into an order of its own in every call, forward and backward. Where
maps are 16 x 16 or 8 x 8 places small and the weights tens of megabytes large, as in the two deepest levels
of Stable Diffusion, that takes longer than the convolution. Here the places are laid out and multiplied with
the weights as they are. On accelerators nothing changes.

Source: Chellapilla et al. 2006, "High Performance Convolutional Neural Networks for Document Processing",
section 3.1 (unrolled convolution).

Shapes: B items, C channels in, O channels out, h x w places that come out, s the stride.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAINS = {torch.float32: {4_000_000: 256}, torch.bfloat16: {4_000_000: 64, 20_000_000: 256}}
"""Where the product is the faster: from so many weights, O * C * 9, up to so many places, B * h * w."""


def use_fast_convolutions(unet: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Give the UNet's large frozen convolutions the fastest kernel for training on this device.

    Args:
        unet: A `UNet2DConditionModel`, its weights frozen.
        dtype: Precision of its weights.

    Returns:
        Layers that were changed; 0 where torch's own choice is the fastest already.
    """
    if device.type != "cpu" or dtype not in GAINS:
        return 0
    names = [name for name, module in unet.named_modules() if is_large(module, dtype)]
    for name in names:
        unet.set_submodule(name, ProductConv2d.of(unet.get_submodule(name)))
    return len(names)


class ProductConv2d(nn.Conv2d):
    """A frozen 3 x 3 convolution with padding 1 that is a matrix product wherever there are few places."""

    @classmethod
    def of(cls, layer: nn.Conv2d) -> ProductConv2d:
        """Take over a layer's weights.

        Args:
            layer: A 3 x 3 convolution with stride 1 or 2, padding 1 and one group.

        Returns:
            The same layer; nothing is copied.
        """
        stride, has_bias = layer.stride[0], layer.bias is not None
        own = cls(layer.in_channels, layer.out_channels, 3, stride, 1, bias=has_bias, device="meta")
        own.weight, own.bias = layer.weight, layer.bias
        return own.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve.

        Args:
            input: Shape (B, C, s * h, s * w), or up to s - 1 less a side.

        Returns:
            Shape (B, O, h, w).
        """
        if input.dtype == self.weight.dtype and is_gain(input, self.weight, self.stride[0]):
            return convolve(input, self.weight, self.bias, stride=self.stride[0])
        return super().forward(input)


def convolve(states: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1) -> Tensor:
    """A 3 x 3 convolution with padding 1 as one matrix product; no gradient for weight and bias.

    Args:
        states: Shape (B, C, s * h, s * w), or up to s - 1 less a side.
        weight: Shape (O, C, 3, 3).
        bias: Shape (O,), or None.
        stride: The stride s.

    Returns:
        Shape (B, O, h, w).
    """
    convolved: Tensor = _Product.apply(states, weight, bias, stride)  # type: ignore[no-untyped-call]
    return convolved


def is_gain(states: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether a product is the faster: many weights, and few places that come out.

    Args:
        states: What goes in, (B, C, s * h, s * w).
        weight: Shape (O, C, 3, 3).
        stride: The stride s.

    Returns:
        As `GAINS` says for this precision.
    """
    places = states.shape[0] * -(-states.shape[2] // stride) * -(-states.shape[3] // stride)
    gains = GAINS.get(weight.dtype, {})
    return any(weight.numel() >= many and places <= few for many, few in gains.items())


def is_large(module: nn.Module, dtype: torch.dtype) -> bool:
    """Whether a module is a plain frozen 3 x 3 convolution with so many weights that a product can gain.

    Args:
        dtype: Precision of its weights, one of `GAINS`.

    Returns:
        True for stride 1 or 2, padding 1, no dilation, one group.
    """
    return (
        type(module) is nn.Conv2d
        and not module.weight.requires_grad
        and (module.kernel_size, module.padding) == ((3, 3), (1, 1))
        and module.stride in {(1, 1), (2, 2)}
        and (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
        and module.weight.numel() >= min(GAINS[dtype])
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride = states.shape, stride
        items, _, height, width = states.shape
        laid_out = F.unfold(states, 3, padding=1, stride=stride)  # (B, 9 * C, h * w)
        rows, places = weight.flatten(1), laid_out.transpose(0, 1).flatten(1)
        out = rows @ places if bias is None else torch.addmm(bias[:, None], rows, places)
        side = -(-height // stride), -(-width // stride)
        return out.view(len(out), items, *side).transpose(0, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        items, _, height, width = ctx.shape
        places = grad.transpose(0, 1).flatten(1)  # (O, B * h * w)
        laid_out = (weight.flatten(1).t() @ places).view(-1, items, places.shape[1] // items).transpose(0, 1)
        summed = F.fold(laid_out.float(), (height, width), 3, padding=1, stride=ctx.stride)
        return summed.to(grad.dtype), None, None, None
