"""Convolutions over few places, in float32 on a CPU: one matrix product with the weights as they lie.

oneDNN brings a convolution's weights into an order of its own in every call, forward and backward. Where
maps are 16 x 16 or 8 x 8 places small and the weights tens of megabytes large, as in the two deepest levels
of Stable Diffusion, that takes longer than the convolution. torch's older kernel lays out the places instead
and multiplies them with the weights as they are. In other precisions, and on accelerators, nothing changes.

Source: Chellapilla et al. 2006, "High Performance Convolutional Neural Networks for Document Processing",
section 3.1 (unrolled convolution).

Shapes: B items, C channels in, O channels out, h x w places that come out, s the stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

FEW_PLACES = 256
"""Places that come out of a batch, B * h * w, up to which the product is the faster."""
MANY_WEIGHTS = 4_000_000
"""Weights, O * C * 9, from which on bringing them into order is what takes the time."""


def use_fast_convolutions(unet: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Give the UNet's large frozen convolutions the fastest kernel for training on this device.

    Args:
        unet: A `UNet2DConditionModel`, its weights frozen.
        device: Where it is trained.
        dtype: Precision of its weights.

    Returns:
        Layers that were changed; 0 where torch's own choice is the fastest already.
    """
    if device.type != "cpu" or dtype != torch.float32:
        return 0
    names = [name for name, module in unet.named_modules() if is_large(module)]
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
        if has_few_places(input.shape, self.stride[0]) and input.dtype == torch.float32:
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


def has_few_places(shape: Sequence[int], stride: int) -> bool:
    """Whether so few places come out that a product is the faster.

    Args:
        shape: Shape of what goes in, (B, C, s * h, s * w).
        stride: The stride s.

    Returns:
        True up to `FEW_PLACES`.
    """
    return shape[0] * -(-shape[2] // stride) * -(-shape[3] // stride) <= FEW_PLACES


def is_large(module: nn.Module) -> bool:
    """Whether a module is a plain frozen 3 x 3 convolution with at least `MANY_WEIGHTS` weights.

    Args:
        module: Any module.

    Returns:
        True for stride 1 or 2, padding 1, no dilation, one group.
    """
    return (
        type(module) is nn.Conv2d
        and not module.weight.requires_grad
        and (module.kernel_size, module.padding) == ((3, 3), (1, 1))
        and module.stride in {(1, 1), (2, 2)}
        and (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
        and module.weight.numel() >= MANY_WEIGHTS
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(states, weight)
        ctx.steps = [stride, stride]
        forward = torch.ops.aten._slow_conv2d_forward
        convolved: Tensor = forward(states, weight, [3, 3], bias, ctx.steps, [1, 1])
        return convolved

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        states, weight = ctx.saved_tensors
        wanted = [True, False, False]  # the gradient of the states alone: the weights are frozen
        backward = torch.ops.aten._slow_conv2d_backward.output_mask
        found = backward(grad, states, weight, [3, 3], ctx.steps, [1, 1], wanted)
        return found[0], None, None, None
