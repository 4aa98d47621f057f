"""Attention block by block: the same numbers as in float64, within bfloat16's rounding."""

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from kernels import relative_error, small_unet
from veneer.models import attention
from veneer.models.attention import BlockAttnProcessor, block_attention, use_fast_attention

ROUNDING = 2**-8  # unit roundoff of bfloat16, which has 8 significant bits


def exact(query, key, value, scale):
    return torch.softmax(query @ key.transpose(1, 2) * scale, -1) @ value


@pytest.mark.parametrize(
    ("items", "queries", "keys", "width"),
    [(8, 256, 256, 40), (2, 1024, 1024, 80), (16, 300, 77, 40), (6, 16, 77, 48), (3, 1, 1, 8)],
)
@pytest.mark.parametrize("block", [2**21, 1000])
def test_values_and_gradients_are_those_of_float64(monkeypatch, items, queries, keys, width, block):
    monkeypatch.setattr(attention, "BLOCK_SCORES", block if queries * keys < 2**17 else 2**17 - 1)
    generator = torch.Generator().manual_seed(0)
    shapes = [(items, n, width) for n in (queries, keys, keys)]
    inputs = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in shapes]
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    grad = torch.randn(shapes[0], generator=generator).bfloat16()
    attended = block_attention(*inputs, width**-0.5)
    attended.backward(grad)
    wanted = exact(*doubles, width**-0.5)
    wanted.backward(grad.double())
    assert attended.dtype == torch.bfloat16
    assert relative_error(attended, wanted) < 2 * ROUNDING
    if keys == 1:
        return  # the weights are constant: the gradients of query and key are zero
    for seen, double in zip(inputs, doubles, strict=True):
        assert relative_error(seen.grad, double.grad) < 2 * ROUNDING


def test_sharp_scores_stay_finite_and_right():
    query = 30 * torch.eye(64).bfloat16()[None]
    value = torch.randn(1, 64, 64).bfloat16()
    attended = block_attention(query, query, value, 1.0)
    assert torch.equal(attended, value)


@pytest.fixture
def unet():
    return small_unet()


def test_a_unet_predicts_the_same(unet):
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
def test_torchs_kernel_stays_where_it_is_faster(unet, device, dtype):
    assert use_fast_attention(unet, torch.device(device), dtype) == 0
    assert all(isinstance(one, AttnProcessor2_0) for one in unet.attn_processors.values())


def test_other_layers_keep_their_processor():
    layer = diffusers.models.attention_processor.Attention(
        32, heads=2, dim_head=16, residual_connection=True, norm_num_groups=8
    )
    assert use_fast_attention(layer, torch.device("cpu"), torch.bfloat16) == 0


def test_a_mask_is_left_to_diffusers():
    layer = diffusers.models.attention_processor.Attention(32, heads=2, dim_head=16).bfloat16()
    states, mask = torch.randn(1, 4, 32).bfloat16(), torch.tensor([[0.0, 0.0, -1e4, -1e4]]).bfloat16()
    wanted = layer(states, attention_mask=mask[:, None].expand(1, 4, 4))
    layer.set_processor(BlockAttnProcessor())
    assert torch.equal(layer(states, attention_mask=mask[:, None].expand(1, 4, 4)), wanted)
