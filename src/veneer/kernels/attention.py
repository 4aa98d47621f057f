"""Attention for training in bfloat16 on a CPU: flash attention's scheme, made of whole matrix products.

torch's own kernel for CPUs converts bfloat16 in small tiles, and its backward pass is slow where there are
few tokens; the products of oneDNN run at the processor's full bfloat16 rate. Here a block of queries that
fits in the cache is held against all keys at once. The backward pass takes the weights from where memory is
left to keep them, and computes the same ones again where it is not. In float32, and on accelerators, torch's
kernel is faster and stays.

Shapes: N = items times heads, L queries, S keys, D features of a head.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

BLOCK_SCORES = 2**21
"""Scores of a block for each thread: 4 MiB of bfloat16, more or less a core's share of the cache."""


class AttentionBuffer:
    """Memory in which attention weights wait for their backward pass.

    Args:
        num_bytes: Bytes that may lie there at once, >= 0.
    """

    def __init__(self, num_bytes: int = 0) -> None:
        self.left = num_bytes

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """Take memory, which is given back as soon as nobody holds the tensor.

        Args:
            shape: Any shape.
            dtype: Any precision.

        Returns:
            A tensor that holds anything; None where too little is left.
        """
        size = dtype.itemsize * math.prod(shape)
        if size > self.left:
            return None
        taken = torch.empty(shape, dtype=dtype)
        self.left -= size
        weakref.finalize(taken, self._give_back, size)
        return taken

    def _give_back(self, size: int) -> None:
        self.left += size


def use_fast_attention(unet: Any, device: torch.device, dtype: torch.dtype, room: int = 0) -> int:
    """Give the UNet's attention layers the fastest exact kernel for training on this device.

    Args:
        unet: A `UNet2DConditionModel`.
        dtype: Precision of its weights.
        room: Bytes that weights may take between forward and backward pass; what they are does not depend
            on it.

    Returns:
        Layers that were changed; 0 where torch's own kernel is the fastest already.
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        return 0
    layers = [module for module in unet.modules() if isinstance(module, Attention) and _is_plain(module)]
    shelf = AttentionBuffer(room)
    for layer in layers:
        layer.set_processor(BlockAttnProcessor(shelf))
    return len(layers)


@contextlib.contextmanager
def counting_weights(unet: Any) -> Iterator[list[int]]:
    """Count the attention weights that layers compute in the block.

    Args:
        unet: A network that predicts, on any device.

    Yields:
        A list that is filled with N * L * S of each layer that runs.
    """
    counts: list[int] = []

    def note(layer: Attention, args: tuple[Tensor, ...], named: dict[str, Tensor | None]) -> None:
        states, context = args[0], named.get("encoder_hidden_states")
        keys = states.shape[1] if context is None else context.shape[1]
        counts.append(states.shape[0] * layer.heads * states.shape[1] * keys)

    def note_joint(layer: Any, args: tuple[Tensor, ...], named: dict[str, Tensor | None]) -> None:
        states, context = args[0] if args else named["hidden_states"], named.get("encoder_hidden_states")
        assert states is not None
        tokens = states.shape[1] + (0 if context is None else context.shape[1])
        counts.append(states.shape[0] * layer.heads * tokens**2)

    layers = [module for module in unet.modules() if isinstance(module, Attention) and _is_plain(module)]
    joint = [  # a transformer's, where pictures and captions attend to each other
        module
        for module in unet.modules()
        if isinstance(module, AttentionModuleMixin) and not isinstance(module, Attention)
    ]
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    hooks += [layer.register_forward_pre_hook(note_joint, with_kwargs=True) for layer in joint]
    yield counts
    for hook in hooks:
        hook.remove()


def block_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, shelf: AttentionBuffer | None = None
) -> Tensor:
    """Softmax attention without mask or dropout, block by block.

    Args:
        query: Shape (N, L, D), bfloat16.
        key: Shape (N, S, D), bfloat16.
        value: Shape (N, S, D), bfloat16.
        scale: Factor on the scores, 1 / sqrt(D) in Stable Diffusion.
        shelf: Where the weights wait for the backward pass; None to compute them again.

    Returns:
        Shape (N, L, D), bfloat16; sums and the softmax run in float32, what is stored between them is
        rounded.

    Source: Dao et al. 2022, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness",
        section 3.1, with blocks over the queries alone.
    """
    attended: Tensor = _BlockAttention.apply(query, key, value, scale, shelf)  # type: ignore[no-untyped-call]
    return attended


class BlockAttnProcessor:
    """Stands in for diffusers' `AttnProcessor2_0` in a plain attention layer.

    Args:
        shelf: Where weights wait for the backward pass; None to compute them again.
    """

    def __init__(self, shelf: AttentionBuffer | None = None) -> None:
        self.shelf = shelf

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
        joined = _join_heads(block_attention(query, key, value, attn.scale, self.shelf), attn.heads)
        projected: Tensor = attn.to_out[1](attn.to_out[0](joined))
        return projected


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - torch hands on what apply was given
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, shelf: AttentionBuffer | None
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        ctx.kept = None
        if shelf is not None and any(ctx.needs_input_grad):
            ctx.kept = shelf.take((*query.shape[:2], key.shape[1]), query.dtype)
        attended, room = torch.empty_like(query), _room(query, key)
        with torch.autocast("cpu", enabled=False):
            for heads, rows in _blocks(query, key):
                into = room if ctx.kept is None else ctx.kept[heads, rows]
                weights = _weights(query[heads, rows], key[heads], scale, into)
                torch.bmm(weights, value[heads], out=attended[heads, rows])
        return attended

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value = ctx.saved_tensors
        grad, scale = grad.contiguous(), ctx.scale
        room, more_room = _room(query, key), _room(query, key)
        kept, ctx.kept = ctx.kept, None  # given back at the end; another pass computes them again
        grad_query = torch.empty_like(query)
        grad_key, grad_value = (torch.zeros(tensor.shape) for tensor in (key, value))  # sums in float32
        with torch.autocast("cpu", enabled=False):
            for heads, rows in _blocks(query, key):
                q, k, g = query[heads, rows], key[heads], grad[heads, rows]
                weights = _weights(q, k, scale, room) if kept is None else _front(kept[heads, rows], q, k)
                grad_value[heads] += torch.bmm(weights.transpose(1, 2), g)
                scores = _front(more_room, q, k)
                torch.bmm(g, value[heads].transpose(1, 2), out=scores)
                torch._softmax_backward_data(scores, weights, -1, scores.dtype, grad_input=scores)
                part = grad_query[heads, rows]
                torch.baddbmm(part, scores, k, beta=0, alpha=scale, out=part)
                grad_key[heads] += torch.bmm(scores.transpose(1, 2), q)
        return grad_query, grad_key.mul_(scale).to(key.dtype), grad_value.to(value.dtype), None, None


def _weights(query: Tensor, key: Tensor, scale: float, room: Tensor) -> Tensor:
    """Softmax over the keys, shape (n, l, S), written into the first places of ``room``."""
    weights = _front(room, query, key)
    torch.baddbmm(weights, query, key.transpose(1, 2), beta=0, alpha=scale, out=weights)
    return torch.softmax(weights, -1, out=weights)


def _front(room: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """The first places of ``room`` as a block (n, l, S), with strides that oneDNN takes without a copy."""
    count, rows, keys = *query.shape[:2], key.shape[1]
    return room.view(-1)[: count * rows * keys].view(count, rows, keys)


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
