"""The adapter: its start, its precision, its switches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict

from helpers.loras import unet_output
from veneer.config import LoraTable
from veneer.errors import AdapterError
from veneer.lora.adapter import (
    adapter_state,
    attach,
    detached,
    load_adapter_state,
    set_scale,
    trainable,
)
from veneer.models.base import load_base

KINDS: list[dict[str, Any]] = [
    {},
    {"target_modules": "attention+ff"},
    {"target_modules": "attention+ff+conv"},
    {"target_modules": "attention+ff+conv", "use_dora": True},
    {"use_rslora": True, "rank_pattern": {"to_q": 2}},
    {"target_modules": ("to_q", "mid_block.attentions.0.proj_in")},
]


def unet_of(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return load_base(str(folder), dtype=dtype, parts=("unet",)).unet


def moved(unet: Any) -> dict[str, torch.Tensor]:
    return {name: weight + 0.1 for name, weight in adapter_state(unet).items()}


@pytest.mark.parametrize("settings", KINDS)
def test_at_the_start_tuned_equals_base(base_folder: Path, settings: dict[str, Any]) -> None:
    unet = unet_of(base_folder)
    before = unet_output(unet)
    attach(unet, LoraTable(**settings), seed=0)
    assert torch.equal(unet_output(unet), before)


@pytest.mark.parametrize("settings", KINDS)
def test_off_and_scale_zero_equal_base(base_folder: Path, settings: dict[str, Any]) -> None:
    unet = unet_of(base_folder)
    before = unet_output(unet)
    attach(unet, LoraTable(**settings), seed=0)
    load_adapter_state(unet, moved(unet))
    tuned = unet_output(unet)
    assert not torch.allclose(tuned, before, atol=1e-3)
    with detached(unet):
        assert torch.equal(unet_output(unet), before)
        assert all(parameter.requires_grad for parameter in trainable(unet).values()) and trainable(unet)
    assert torch.equal(unet_output(unet), tuned)
    set_scale(unet, 0)
    assert torch.equal(unet_output(unet), before)
    set_scale(unet, 1)
    assert torch.equal(unet_output(unet), tuned)


def test_scale_is_linear_in_the_update(base_folder: Path) -> None:
    unet = unet_of(base_folder)
    table = LoraTable(rank=2, lora_alpha=6, use_rslora=True, target_modules=("conv_out",))
    attach(unet, table, seed=0)
    load_adapter_state(unet, moved(unet))
    set_scale(unet, 0.5)
    layer = unet.conv_out
    assert layer.scaling["default"] == pytest.approx(0.5 * 6 / 2**0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("use_dora", [False, True])
def test_adapters_are_float32(base_folder: Path, dtype: torch.dtype, use_dora: bool) -> None:
    unet = unet_of(base_folder, dtype)
    attach(unet, LoraTable(use_dora=use_dora), seed=0)
    assert {parameter.dtype for parameter in trainable(unet).values()} == {torch.float32}
    assert {p.dtype for p in unet.parameters() if not p.requires_grad} == {dtype}
    # A float32 start that a rounded one would not give: same numbers as on a float32 base.
    full = unet_of(base_folder)
    attach(full, LoraTable(use_dora=use_dora), seed=0)
    for name, weight in adapter_state(unet).items():
        if "magnitude" not in name:
            assert torch.equal(weight, adapter_state(full)[name]), name


def test_only_the_adapter_is_trainable(base_folder: Path) -> None:
    unet = unet_of(base_folder)
    attach(unet, LoraTable(), seed=0)
    names = [name for name, parameter in unet.named_parameters() if parameter.requires_grad]
    assert names and all(".lora_" in name for name in names)
    assert list(trainable(unet)) == sorted(adapter_state(unet))


class TestStart:
    def test_leaves_the_global_generator_alone(self, base_folder: Path) -> None:
        unet = unet_of(base_folder)
        before = torch.random.get_rng_state()
        attach(unet, LoraTable(), seed=0)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_depends_on_seed_and_name_alone(self, base_folder: Path) -> None:
        states = []
        for seed, noise, targets in ((0, 1, "attention"), (0, 2, "attention+ff"), (1, 1, "attention")):
            torch.manual_seed(noise)
            unet = unet_of(base_folder)
            attach(unet, LoraTable(target_modules=targets), seed=seed)
            states.append(adapter_state(unet))
        name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[0][name], states[2][name])

    def test_gaussian_and_kaiming(self, base_folder: Path) -> None:
        for init, low, high in (("gaussian", 1 / 16 * 0.8, 1 / 16 * 1.2), ("kaiming", 0.1, 0.25)):
            unet = unet_of(base_folder)
            attach(unet, LoraTable(rank=16, init=init), seed=0)
            draws = torch.cat([w.flatten() for n, w in adapter_state(unet).items() if "lora_A" in n])
            assert low < float(draws.std()) < high
            assert abs(float(draws.mean())) < 0.02
            assert not any(w.any() for n, w in adapter_state(unet).items() if "lora_B" in n)


class TestState:
    @pytest.mark.parametrize("settings", KINDS)
    def test_names_are_pefts(self, base_folder: Path, settings: dict[str, Any]) -> None:
        unet = unet_of(base_folder)
        attach(unet, LoraTable(**settings), seed=0)
        theirs = get_peft_model_state_dict(unet, adapter_name="default")
        ours = adapter_state(unet)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_round_trip(self, base_folder: Path) -> None:
        first, second = unet_of(base_folder), unet_of(base_folder)
        for seed, unet in enumerate((first, second)):
            attach(unet, LoraTable(), seed=seed)
        load_adapter_state(second, moved(first))
        load_adapter_state(first, moved(first))
        assert torch.equal(unet_output(first), unet_output(second))

    def test_is_a_copy(self, base_folder: Path) -> None:
        unet = unet_of(base_folder)
        attach(unet, LoraTable(), seed=0)
        adapter_state(unet)["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"] += 1
        assert not adapter_state(unet)[
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"
        ].any()

    def test_missing_left_over_and_misshapen(self, base_folder: Path) -> None:
        unet = unet_of(base_folder)
        attach(unet, LoraTable(), seed=0)
        state = adapter_state(unet)
        name = next(iter(state))
        with pytest.raises(AdapterError, match="the file lacks"):
            load_adapter_state(unet, {k: v for k, v in state.items() if k != name})
        with pytest.raises(AdapterError, match="the model has no place for"):
            load_adapter_state(unet, state | {"x.lora_A.weight": state[name]})
        with pytest.raises(AdapterError, match=r"in the file, .* in the model"):
            load_adapter_state(unet, state | {name: state[name][:2]})
