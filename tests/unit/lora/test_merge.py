"""Arithmetic on LoRAs, against the matrices themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.loras import random_lora, unet_output
from veneer.errors import AdapterError
from veneer.lora.adapter import inject, load_adapter_state
from veneer.lora.merge import delta, delta_norm, merge_adapters, merge_into, resize_adapter
from veneer.models.base import load_base

EVERYTHING: dict[str, Any] = {"target_modules": "attention+ff+conv", "lora_alpha": 3}


def test_sum_is_exact(base_folder: Path) -> None:
    first = random_lora(base_folder, seed=1, **EVERYTHING)
    second = random_lora(base_folder, seed=2, rank=2, text_encoder=True)
    both = merge_adapters([first, second], [0.7, -1.5])
    assert set(both.modules) == {*first.modules, *second.modules}
    for module in both.modules:
        wanted = sum(
            weight * delta(lora, module)
            for lora, weight in ((first, 0.7), (second, -1.5))
            if module in lora.alphas
        )
        assert (delta(both, module) - wanted).abs().max() < 1e-6
    assert both.ranks["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"] == 6


def test_sums_that_cannot_be(base_folder: Path) -> None:
    lora = random_lora(base_folder)
    with pytest.raises(AdapterError, match="2 adapters and 1 weights"):
        merge_adapters([lora, lora], [1.0])
    with pytest.raises(AdapterError, match="a DoRA cannot be added"):
        merge_adapters([random_lora(base_folder, use_dora=True)], [1.0])
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    other = type(lora)(dict(lora.state) | {name: lora.state[name][:, :8]}, lora.alphas)
    with pytest.raises(AdapterError, match="made for different bases"):
        merge_adapters([lora, other], [1.0, 1.0])


def test_resize_is_the_nearest_of_that_rank(base_folder: Path) -> None:
    lora = random_lora(base_folder, rank=6, **EVERYTHING)
    small = resize_adapter(lora, 2)
    assert set(small.lora.ranks.values()) == {2}
    total = left = 0.0
    for module in lora.modules:
        whole = delta(lora, module).flatten(1)
        values = torch.linalg.svdvals(whole)
        error = torch.linalg.norm(delta(small.lora, module).flatten(1) - whole)
        assert float(error) == pytest.approx(float(values[2:].square().sum().sqrt()), abs=1e-6)
        total, left = total + float(values.square().sum()), left + float(values[:2].square().sum())
    assert small.kept == pytest.approx(left / total)


def test_resize_to_the_same_rank_changes_nothing(base_folder: Path) -> None:
    lora = random_lora(base_folder, rank=3, **EVERYTHING)
    same = resize_adapter(lora, 8)
    assert same.kept == pytest.approx(1)
    assert set(same.lora.ranks.values()) == {3}
    for module in lora.modules:
        assert (delta(same.lora, module) - delta(lora, module)).abs().max() < 1e-6


def test_norm_without_the_matrix(base_folder: Path) -> None:
    lora = random_lora(base_folder, **EVERYTHING)
    for module in lora.modules:
        assert delta_norm(lora, module) == pytest.approx(float(delta(lora, module).norm()), rel=1e-9)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.0, 0.6])
def test_merged_equals_attached(base_folder: Path, use_dora: bool, scale: float) -> None:
    if use_dora and scale == 0.6:
        pytest.skip("between its ends a DoRA's strength has no single meaning")
    lora = random_lora(base_folder, use_dora=use_dora, **EVERYTHING)
    merged, attached, plain = (load_base(str(base_folder), parts=("unet",)).unet for _ in range(3))
    merge_into(merged, lora, scale=scale)
    if scale:
        inject(attached, lora.ranks, {m: a * scale for m, a in lora.alphas.items()}, use_dora=use_dora)
        load_adapter_state(attached, lora.state)
    found, wanted, before = (unet_output(unet) for unet in (merged, attached, plain))
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(found, before) == (scale == 0)


def test_merging_into_another_base(base_folder: Path) -> None:
    lora = random_lora(base_folder)
    unet: Any = load_base(str(base_folder), parts=("unet",)).unet
    module = lora.modules[0]
    alone = {
        f"{module}.{kind}": lora.state[f"{module}.{kind}"] for kind in ("lora_A.weight", "lora_B.weight")
    }
    wide = alone | {f"{module}.lora_A.weight": alone[f"{module}.lora_A.weight"].repeat(1, 2)}
    with pytest.raises(AdapterError, match="made for another base"):
        merge_into(unet, type(lora)(wide, {module: 4.0}))
    elsewhere = {name.replace("down_blocks.0", "down_blocks.9"): weight for name, weight in alone.items()}
    with pytest.raises(AdapterError, match=r"has no layer down_blocks\.9"):
        merge_into(unet, type(lora)(elsewhere, {module.replace("down_blocks.0", "down_blocks.9"): 4.0}))
