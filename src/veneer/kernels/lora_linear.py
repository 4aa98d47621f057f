"""A frozen linear layer and its LoRA as one function, for training.

peft adds a LoRA in five steps, each of which reads or writes a whole map of features: two products, a factor,
a sum, and the same again in the backward pass. Here products add to the layer's own result where it lies, the
factor acts on the few ranks, and of the frozen layer nothing is computed that only its weights would need.
Numbers differ from peft's by the rounding of another order of the same sums.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.

Shapes: N places, C features in, O features out, r ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from veneer.lora.adapter import ADAPTER

QUICK = {
    "cpu": (torch.float32, torch.bfloat16),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
}
"""Precisions in which the function is the faster, by device."""


def use_fused_layers(module: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Give a network's plain LoRA layers the fastest exact computation for training on this device.

    Returns:
        Layers that were changed; 0 where peft's own stay, as they do for dropout, DoRA and masked ranks.
    """
    if dtype not in QUICK.get(device.type, ()):
        return 0
    layers = [layer for layer in module.modules() if _is_plain(layer)]
    for layer in layers:
        layer.__class__ = FusedLinear  # the same parts and state, another forward
    return len(layers)


class FusedLinear(Linear):  # type: ignore[misc]
    """Stands in for peft's layer while training."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Apply the layer and its LoRA.

        Args:
            x: Shape (..., C).
            *args: Left to peft.
            **kwargs: Left to peft.

        Returns:
            Shape (..., O).
        """
        dtype = self.base_layer.weight.dtype
        if args or kwargs or self.disable_adapters or self.merged or x.dtype != dtype:
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        layer, down, up = self.base_layer, self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        down, up = down.to(dtype), up.to(dtype)  # as autocast would; adapters are float32
        rows = x.reshape(-1, x.shape[-1])
        scale = self.scaling[ADAPTER]
        fused: Tensor = _Fused.apply(rows, layer.weight, layer.bias, down, up, scale)  # type: ignore[no-untyped-call]
        return fused.view(*x.shape[:-1], -1)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - torch hands on what apply was given
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        ranks = rows @ down.t()
        out = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())
        ctx.save_for_backward(rows, ranks, weight, down, up)
        ctx.scale = scale
        return out.addmm_(ranks, up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, ranks, weight, down, up = ctx.saved_tensors
        grad_ranks = (grad @ up).mul_(ctx.scale)
        grad_up = (grad.t() @ ranks).mul_(ctx.scale)
        grad_rows = None
        if ctx.needs_input_grad[0]:
            grad_rows = (grad @ weight).addmm_(grad_ranks, down)
        return grad_rows, None, None, grad_ranks.t() @ rows, grad_up, None


def _is_plain(layer: Any) -> bool:
    """Whether a layer is peft's linear one with a single LoRA that nothing else acts on."""
    if type(layer) is not Linear or type(layer.base_layer) is not nn.Linear:
        return False
    down = layer.lora_A[ADAPTER]
    return (
        list(layer.lora_A) == [ADAPTER]
        and not layer.lora_variant
        and isinstance(layer.lora_dropout[ADAPTER], nn.Identity)
        and not layer.lora_bias[ADAPTER]
        and not down._forward_hooks  # a mask of ranks, as T-LoRA sets it
    )
