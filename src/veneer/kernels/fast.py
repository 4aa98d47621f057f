"""The one door to the kernels of this room: a UNet gets all that are faster on its device."""

from __future__ import annotations

from typing import Any

import torch

from veneer.kernels.attention import use_fast_attention
from veneer.kernels.convolution import use_fast_convolutions
from veneer.kernels.lora_linear import use_fused_layers


def use_fast_kernels(
    unet: Any, device: torch.device, dtype: torch.dtype, *, room: int = 0, fuse_lora: bool = True
) -> int:
    """Give a UNet the fastest exact kernels for training on this device.

    Called last: with the adapter on, so that its layers are seen, and with what masks its ranks, so that
    masked layers are left to peft.

    Args:
        unet: A frozen `UNet2DConditionModel` with its adapter.
        room: Bytes in which attention weights may wait for the backward pass.
        fuse_lora: Whether LoRA layers are fused here; a compiler does that by itself.

    Returns:
        Layers that were changed; 0 where torch's and peft's own are the fastest already.
    """
    changed = use_fast_attention(unet, device, dtype, room) + use_fast_convolutions(unet, device, dtype)
    return changed + (use_fused_layers(unet, device, dtype) if fuse_lora else 0)
