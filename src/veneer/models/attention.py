"""Attention for training in bfloat16 on a CPU: flash attention's scheme, made of whole matrix products.

torch's own kernel for CPUs converts bfloat16 in small tiles, and its backward pass is slow where there are
few tokens; the products of oneDNN run at the processor's full bfloat16 rate. Here a block of queries that
fits in the cache is held against all keys at once, and the backward pass computes the weights again instead
of keeping them. In float32, and on accelerators, torch's kernel is faster and stays.

Shapes: N = items times heads, L queries, S keys, D features of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

BLOCK_SCORES = 2**21
"""Scores of a block for each thread: 4 MiB of bfloat16, more or less a core's share of the cache."""


def use_fast_attention(unet: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Give the UNet's attention layers the fastest exact kernel for training on this device.

    Args:
        unet: A `UNet2DConditionModel`.
        device: Where it is trained.
        dtype: Precision of its weights.

    Returns:
        Layers that were changed; 0 where torch's own kernel is the fastest already.
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        return 0
    layers = [module for module in unet.modules() if isinstance(module, Attention) and _is_plain(module)]
    for layer in layers:
        layer.set_processor(BlockAttnProcessor())
    return len(layers)


def block_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention without mask or dropout, block by block.

    Args:
        query: Shape (N, L, D), bfloat16.
        key: Shape (N, S, D), bfloat16.
        value: Shape (N, S, D), bfloat16.
        scale: Factor on the scores, 1 / sqrt(D) in Stable Diffusion.

    Returns:
        Shape (N, L, D), bfloat16; sums and the softmax run in float32, what is stored between them is
        rounded.

    Source: Dao et al. 2022, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness",
        section 3.1, with blocks over the queries alone.
    """
    attended: Tensor = _BlockAttention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return attended


class BlockAttnProcessor:
    """Stands in for diffusers' `AttnProcessor2_0` in a plain attention layer."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            attn: The layer.
            hidden_states: Shape (B, L, C).
            encoder_hidden_states: Shape (B, S, D'), or None for self-attention.
            attention_mask: A mask is left to diffusers' own processor.
            temb: Not used by plain layers.

        Returns:
            Shape (B, L, C).
        """
        if attention_mask is not None or hidden_states.dtype != torch.bfloat16:
            own = AttnProcessor2_0()
            attended: Tensor = own(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
            return attended
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            _split_heads(layer(states), attn.heads)
            for layer, states in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        joined = _join_heads(block_attention(query, key, value, attn.scale), attn.heads)
        projected: Tensor = attn.to_out[1](attn.to_out[0](joined))
        return projected


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        attended = torch.empty_like(query)
        room = _room(query, key)
        with torch.autocast("cpu", enabled=False):
            for heads, rows in _blocks(query, key):
                weights = _weights(query[heads, rows], key[heads], scale, room)
                torch.bmm(weights, value[heads], out=attended[heads, rows])
        return attended

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        grad, scale = grad.contiguous(), ctx.scale
        room, more_room = _room(query, key), _room(query, key)
        grad_query = torch.empty_like(query)
        grad_key, grad_value = (torch.zeros(tensor.shape) for tensor in (key, value))  # sums in float32
        with torch.autocast("cpu", enabled=False):
            for heads, rows in _blocks(query, key):
                q, k, g = query[heads, rows], key[heads], grad[heads, rows]
                weights = _weights(q, k, scale, room)
                grad_value[heads] += torch.bmm(weights.transpose(1, 2), g)
                scores = more_room[: weights.numel()].view(weights.shape)
                torch.bmm(g, value[heads].transpose(1, 2), out=scores)
                torch._softmax_backward_data(scores, weights, -1, scores.dtype, grad_input=scores)
                part = grad_query[heads, rows]
                torch.baddbmm(part, scores, k, beta=0, alpha=scale, out=part)
                grad_key[heads] += torch.bmm(scores.transpose(1, 2), q)
        return grad_query, grad_key.mul_(scale).to(key.dtype), grad_value.to(value.dtype), None


def _weights(query: Tensor, key: Tensor, scale: float, room: Tensor) -> Tensor:
    """Softmax over the keys, shape (n, l, S), written into ``room``."""
    count, rows, keys = *query.shape[:2], key.shape[1]
    weights = room[: count * rows * keys].view(count, rows, keys)
    torch.baddbmm(weights, query, key.transpose(1, 2), beta=0, alpha=scale, out=weights)
    return torch.softmax(weights, -1, out=weights)


def _room(query: Tensor, key: Tensor) -> Tensor:
    """Memory for the largest block, used by one after the other."""
    count, rows = _block_size(query, key)
    return query.new_empty(count * rows * key.shape[1])


def _blocks(query: Tensor, key: Tensor) -> Iterator[tuple[slice, slice]]:
    """Items and queries of each block: several items whole, or some queries of one."""
    count, rows = _block_size(query, key)
    for first in range(0, query.shape[0], count):
        for row in range(0, query.shape[1], rows):
            yield slice(first, first + count), slice(row, row + rows)


def _block_size(query: Tensor, key: Tensor) -> tuple[int, int]:
    num_items, num_queries, num_keys = *query.shape[:2], key.shape[1]
    scores = BLOCK_SCORES * torch.get_num_threads()
    count = min(num_items, max(1, scores // (num_queries * num_keys)))
    rows = num_queries if count > 1 else min(num_queries, max(1, scores // num_keys))
    return count, rows


def _split_heads(states: Tensor, heads: int) -> Tensor:
    """(B, L, H * D) to (B * H, L, D)."""
    batch, length, width = states.shape
    parts = states.view(batch, length, heads, width // heads).transpose(1, 2)
    return parts.reshape(batch * heads, length, width // heads)


def _join_heads(states: Tensor, heads: int) -> Tensor:
    """(B * H, L, D) to (B, L, H * D)."""
    number, length, width = states.shape
    parts = states.view(number // heads, heads, length, width).transpose(1, 2)
    return parts.reshape(number // heads, length, heads * width)


def _is_plain(layer: Attention) -> bool:
    """Whether the layer is what Stable Diffusion's UNet has: no norms, no residual of its own."""
    extras = (layer.spatial_norm, layer.group_norm, layer.norm_cross, layer.norm_q, layer.norm_k)
    return (
        all(extra is None or extra is False for extra in extras)
        and isinstance(layer.processor, AttnProcessor2_0)
        and not layer.residual_connection
        and layer.rescale_output_factor == 1
        and layer.added_kv_proj_dim is None
    )
