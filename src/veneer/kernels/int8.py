"""Frozen linear layers in eight bits: whole numbers, and a scale for each output.

A quarter of float32's memory, half of bfloat16's. Nothing is kept of a layer for the backward pass but its
own numbers; both passes widen them anew. The adapter on top stays float32, other layers as they are.

Source: Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", section 2
(absmax quantisation by rows; here of weights alone).

Shapes: C features in, O features out.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_INT8 = 127
"""Largest whole number of eight bits on both sides of zero."""


class Int8Linear(nn.Linear):
    """Stands in for a frozen linear layer.

    Args:
        layer: The layer; its bias is taken as it is.
    """

    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().float()
        scale = (
            weight.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / LARGEST_INT8
        )
        self.weight = nn.Parameter((weight / scale).round_().to(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            input: Shape (..., C); its precision is the product's.

        Returns:
            Shape (..., O).
        """
        widened: Tensor = _Widened.apply(input, self.weight, self.scale, self.bias)  # type: ignore[no-untyped-call]
        return widened


def quantise(network: nn.Module, layers: re.Pattern[str]) -> int:
    """Put a frozen network's linear layers into eight bits, one after the other.

    Args:
        layers: Names of layers that an adapter may lie on; others are few, and read by their precision.

    Returns:
        Layers that were changed.
    """
    found = linear_layers(network, layers)
    for name in found:
        home, _, own = name.rpartition(".")
        parent = network.get_submodule(home)
        setattr(parent, own, Int8Linear(parent.get_submodule(own)))  # type: ignore[arg-type]
    return len(found)


def linear_layers(network: nn.Module, layers: re.Pattern[str]) -> dict[str, nn.Linear]:
    """The layers that eight bits can hold, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if type(module) is nn.Linear and layers.fullmatch(name)
    }


class _Widened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        own = None if bias is None else bias.to(rows.dtype)
        return functional.linear(rows, _widen(weight, scale, rows.dtype), own)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        weight, scale = ctx.saved_tensors
        needed = ctx.needs_input_grad[0]
        return (grad @ _widen(weight, scale, grad.dtype) if needed else None), None, None, None


def _widen(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return (weight * scale).to(dtype)
