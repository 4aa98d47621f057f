"""LoKr, LoHa and OFT: no change at first, the same start for the same seed, and what files make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from helpers.loras import unet_output
from veneer.config import LoraTable
from veneer.errors import RecipeError
from veneer.lora.adapter import adapter_state, load_adapter_state, trainable
from veneer.lora.methods import as_lora, attach_method, layer_updates, remove_method, write_peft
from veneer.models.base import load_base
from veneer.recipe import resolve

METHODS = ("lokr", "loha", "oft")


def table(method: str, **settings: Any) -> LoraTable:
    layers = "attention+ff" if method == "oft" else "attention+ff+conv"
    return LoraTable(method=method, **{"rank": 4, "target_modules": layers} | settings)


def test_oft_is_refused_on_convolutions(unet: Any) -> None:
    with pytest.raises(RecipeError, match="linear layers alone"):
        attach_method(unet, table("oft", target_modules="attention+ff+conv"), seed=0)


def moved(unet: Any, lora: LoraTable) -> dict[str, torch.Tensor]:
    """The method on a UNet, every weight off its start."""
    attach_method(unet, lora, seed=0)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: one + 0.05 * torch.randn(one.shape, generator=generator)
        for name, one in adapter_state(unet).items()
    }
    load_adapter_state(unet, state)
    return state


@pytest.fixture
def unet(base_folder: Path) -> Any:
    return load_base(str(base_folder), parts=("unet",)).unet


@pytest.mark.parametrize("method", METHODS)
def test_it_starts_at_the_base_and_at_the_same_place(base_folder: Path, unet: Any, method: str) -> None:
    plain = unet_output(unet)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    attach_method(unet, table(method), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(unet_output(unet), plain)
    first = adapter_state(unet)
    assert first and all(one.dtype == torch.float32 for one in trainable(unet).values())
    other = load_base(str(base_folder), parts=("unet",)).unet
    torch.manual_seed(4)
    attach_method(other, table(method), seed=0)
    second = adapter_state(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    remove_method(unet)
    assert torch.equal(unet_output(unet), plain) and not adapter_state(unet)


@pytest.mark.parametrize("method", METHODS)
def test_a_plain_lora_of_enough_rank_is_the_same(unet: Any, method: str) -> None:
    moved(unet, table(method))
    updates = dict(layer_updates(unet))
    found = as_lora(unet, error=1e-6)
    for name, change in updates.items():
        down, up = found.state[f"{name}.lora_A.weight"], found.state[f"{name}.lora_B.weight"]
        nearest = (up.flatten(1) @ down.flatten(1)).reshape(change.shape)
        torch.testing.assert_close(nearest, change, rtol=0, atol=1e-5)
    assert found.error < 1e-5
    assert {name.rpartition(".lora_")[0] for name in found.state} == set(updates)


def test_what_a_small_rank_loses_is_stated(unet: Any) -> None:
    moved(unet, table("lokr"))
    found = as_lora(unet, largest=1)
    total = lost = 0.0
    for name, change in layer_updates(unet):
        down, up = found.state[f"{name}.lora_A.weight"], found.state[f"{name}.lora_B.weight"]
        nearest = (up.flatten(1) @ down.flatten(1)).reshape(change.shape)
        total += float(change.square().sum())
        lost += float((change - nearest).square().sum())
    assert found.rank == 1
    assert found.error == pytest.approx((lost / total) ** 0.5, rel=1e-3) and found.error > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_peft_loads_its_own_files(base_folder: Path, unet: Any, tmp_path: Path, method: str) -> None:
    moved(unet, table(method, target_modules="attention"))
    wanted = unet_output(unet)
    write_peft(tmp_path, unet)
    other = load_base(str(base_folder), parts=("unet",)).unet
    loaded = PeftModel.from_pretrained(other, str(tmp_path))
    torch.testing.assert_close(unet_output(loaded), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", ["use_dora", "use_rslora", "timestep_rank"])
def test_what_only_a_lora_has_is_refused(key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        resolve({"lora": {"method": "loha", key: True}})
