"""Attention block by block: the same numbers as in float64, within bfloat16's rounding."""

from typing import Any

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from helpers.kernels import relative_error, small_unet
from veneer.kernels import attention
from veneer.kernels.attention import (
    AttentionBuffer,
    BlockAttnProcessor,
    block_attention,
    counting_weights,
    use_fast_attention,
)

ROUNDING = 2**-8  # unit roundoff of bfloat16, which has 8 significant bits


def exact(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.softmax(query @ key.transpose(1, 2) * scale, -1) @ value


@pytest.mark.parametrize(
    ("items", "queries", "keys", "width"),
    [(8, 256, 256, 40), (2, 1024, 1024, 80), (16, 300, 77, 40), (6, 16, 77, 48), (3, 1, 1, 8)],
)
@pytest.mark.parametrize("block", [2**21, 1000])
def test_values_and_gradients_are_those_of_float64(
    monkeypatch: pytest.MonkeyPatch, items: int, queries: int, keys: int, width: int, block: int
) -> None:
    monkeypatch.setattr(attention, "BLOCK_SCORES", block if queries * keys < 2**17 else 2**17 - 1)
    generator = torch.Generator().manual_seed(0)
    shapes = [(items, n, width) for n in (queries, keys, keys)]
    inputs = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in shapes]
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    grad = torch.randn(shapes[0], generator=generator).bfloat16()
    query, key, value = inputs
    attended = block_attention(query, key, value, width**-0.5)
    attended.backward(grad)
    wanted = exact(doubles[0], doubles[1], doubles[2], width**-0.5)
    wanted.backward(grad.double())
    assert attended.dtype == torch.bfloat16
    assert relative_error(attended, wanted) < 2 * ROUNDING
    if keys == 1:
        return  # the weights are constant: the gradients of query and key are zero
    for seen, double in zip(inputs, doubles, strict=True):
        assert relative_error(seen.grad, double.grad) < 2 * ROUNDING


@pytest.mark.parametrize(("items", "block"), [(4, 2**21), (4, 300 * 77 * 2), (4, 77 * 100)])
def test_kept_weights_change_no_bit_and_are_given_back(
    monkeypatch: pytest.MonkeyPatch, items: int, block: int
) -> None:
    monkeypatch.setattr(attention, "BLOCK_SCORES", block)
    shapes = [(items, n, 40) for n in (300, 77, 77)]
    inputs = [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]
    grad, size = torch.randn(shapes[0]).bfloat16(), 2 * items * 300 * 77
    computed_again = _twice(inputs, grad, None)
    for room, left in ((size, 0), (size - 1, size - 1)):
        shelf = AttentionBuffer(room)
        kept = _twice(inputs, grad, shelf, left)
        assert shelf.left == room
        assert all(torch.equal(one, other) for one, other in zip(kept, computed_again, strict=True))


def _twice(
    inputs: list[torch.Tensor],
    grad: torch.Tensor,
    shelf: AttentionBuffer | None,
    left: int = 0,
) -> tuple[torch.Tensor, ...]:
    """The result, and the gradients of two backward passes; in between the room on the shelf is looked at."""
    attended = block_attention(inputs[0], inputs[1], inputs[2], 0.2, shelf)
    assert shelf is None or shelf.left == left
    first = torch.autograd.grad(attended, inputs, grad, retain_graph=True)
    return attended, *first, *torch.autograd.grad(attended, inputs, grad)


def test_what_needs_no_gradient_takes_no_room() -> None:
    states, shelf = torch.randn(1, 4, 8).bfloat16(), AttentionBuffer(1000)
    attended = block_attention(states, states, states, 1.0, shelf)
    assert shelf.left == 1000
    del attended
    kept = block_attention(states.requires_grad_(), states, states, 1.0, shelf)
    assert shelf.left == 1000 - 32
    del kept
    assert shelf.left == 1000


def test_the_weights_of_a_unet_are_counted(unet: Any) -> None:
    """On 8 x 8 places, in the middle on 4 x 4; each layer sees its own places, or the text's 77."""
    with counting_weights(unet) as weights, torch.no_grad():
        unet(torch.randn(2, 4, 8, 8), torch.tensor(3), torch.randn(2, 77, 32))
    heads = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.heads
    assert len(weights) == len(unet.attn_processors)
    assert {count // (2 * heads) for count in weights} == {64 * 64, 64 * 77, 16 * 16, 16 * 77}


def test_sharp_scores_stay_finite_and_right() -> None:
    query = 30 * torch.eye(64).bfloat16()[None]
    value = torch.randn(1, 64, 64).bfloat16()
    attended = block_attention(query, query, value, 1.0)
    assert torch.equal(attended, value)


@pytest.fixture
def unet() -> Any:
    return small_unet()


def test_a_unet_predicts_the_same(unet: Any) -> None:
    unet.to(torch.bfloat16)
    inputs = torch.randn(2, 4, 8, 8).bfloat16(), torch.tensor([3, 700]), torch.randn(2, 77, 32).bfloat16()
    with torch.no_grad():
        before = unet(*inputs).sample
        exact_unet = unet.float()(inputs[0].float(), inputs[1], inputs[2].float()).sample
        unet.to(torch.bfloat16)
        assert use_fast_attention(unet, torch.device("cpu"), torch.bfloat16) == 8
        after = unet(*inputs).sample
    assert not torch.equal(before, after)
    assert (
        relative_error(after, exact_unet.double()) < 1.5 * relative_error(before, exact_unet.double()) + 1e-3
    )


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("cuda", torch.bfloat16)])
def test_torchs_kernel_stays_where_it_is_faster(unet: Any, device: str, dtype: torch.dtype) -> None:
    assert use_fast_attention(unet, torch.device(device), dtype) == 0
    assert all(isinstance(one, AttnProcessor2_0) for one in unet.attn_processors.values())


def test_other_layers_keep_their_processor() -> None:
    layer = diffusers.models.attention_processor.Attention(
        32, heads=2, dim_head=16, residual_connection=True, norm_num_groups=8
    )
    assert use_fast_attention(layer, torch.device("cpu"), torch.bfloat16) == 0


def test_a_mask_is_left_to_diffusers() -> None:
    layer = diffusers.models.attention_processor.Attention(32, heads=2, dim_head=16).bfloat16()
    states, mask = torch.randn(1, 4, 32).bfloat16(), torch.tensor([[0.0, 0.0, -1e4, -1e4]]).bfloat16()
    wanted = layer(states, attention_mask=mask[:, None].expand(1, 4, 4))
    layer.set_processor(BlockAttnProcessor())
    assert torch.equal(layer(states, attention_mask=mask[:, None].expand(1, 4, 4)), wanted)
