"""Linear layers in eight bits: what they say, what they keep, and how near a LoRA's gradients stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import tiny
from helpers.training import copy_run, encoded_run, recipe_for, train_quietly, weights_hashes
from veneer.cli.dryrun import _training
from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.events import Notice
from veneer.kernels.int8 import Int8Linear
from veneer.models.base import load_base_of
from veneer.recipe import resolve
from veneer.stages.export import export
from veneer.training import plan as plans
from veneer.training.network import Network, build_network

TOLERANCE = 0.02
"""Largest difference of a LoRA's gradients from those on the whole base, as a share of their length."""
BUILDERS = {"flux2-klein": tiny.tiny_klein, "z-image": tiny.tiny_zimage}


@pytest.fixture(scope="module", params=BUILDERS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BUILDERS[request.param](tmp_path_factory.mktemp("base"))


def recipe(base: Path, base_weights: str | None = "int8", **train: Any) -> Recipe:
    table = {
        "cuda_graph": False,
        "base_weights": base_weights,
        "max_train_steps": 2,
        "checkpointing_steps": 1,
    }
    return recipe_for(base, train=table | train, generate={"scheduler": "euler"})


def gradients(network: Network) -> torch.Tensor:
    """Of a LoRA that already does something, on one item."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.parameters.items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=generator)
    draw = torch.Generator().manual_seed(2)
    settings: dict[str, Any] = {part: {} for part in ("vae", "unet")} | {
        "transformer": dict(network.unet.config)
    }
    told = network.family.probe(settings, lambda shape: torch.randn(shape, generator=draw))
    channels = network.unet.config.in_channels
    noisy = torch.randn((1, channels, 8, 8), generator=draw)
    said = network.predict(noisy, torch.tensor([400]), told)
    (said * torch.randn(said.shape, generator=draw)).sum().backward()
    return torch.cat([p.grad.flatten() for p in network.parameters.values() if p.grad is not None])


def test_a_layer_says_nearly_the_same_and_keeps_its_eight_bits_alone() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(64, 48).requires_grad_(False)
    plain.weight[3] = 0  # a row of zeros has no largest number
    small = Int8Linear(plain)
    assert small.weight.dtype == torch.int8
    off = (small.weight * small.scale - plain.weight).abs()
    assert bool((off <= small.scale / 2 * 1.001).all())
    x, kept = torch.randn(5, 64, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.dtype) or one, lambda one: one):
        out = small(x)
    assert set(kept) <= {torch.int8, torch.float32} and kept.count(torch.float32) == 1  # the scale
    torch.testing.assert_close(out, nn.functional.linear(x, small.weight * small.scale, plain.bias))
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones(5, 48) @ (small.weight * small.scale))


def test_gradients_of_the_lora_stay_near(base: Path) -> None:
    events: list[object] = []
    whole = build_network(recipe(base, None), torch.device("cpu"))
    small = build_network(recipe(base), torch.device("cpu"), events.append)
    assert [event.code for event in events if isinstance(event, Notice)] == ["base-int8"]
    count = sum(isinstance(module, Int8Linear) for module in small.unet.modules())
    assert count > 10
    wanted, found = gradients(whole), gradients(small)
    assert 0 < float((found - wanted).norm() / wanted.norm()) < TOLERANCE


def test_a_resume_ends_with_the_same_bytes_and_the_file_fits_the_whole_base(tmp_path: Path) -> None:
    asked = recipe(tiny.tiny_zimage(tmp_path / "base"))
    run = encoded_run(tmp_path / "run", asked)
    train_quietly(run, asked)
    cut = copy_run(run, tmp_path / "cut")
    newest = cut.checkpoint(2) / "adapter.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    train_quietly(cut, asked)
    assert weights_hashes(cut) == weights_hashes(run)
    assert max(export(run, asked).differences.values()) < 1e-3


def test_the_plan_says_what_eight_bits_take(base: Path) -> None:
    asked = recipe(base, None)
    counted = plans._count(load_base_of(asked.base, parts=()), asked)
    layers = build_network(recipe(base), torch.device("cpu")).unet.modules()
    small = sum(one.weight.numel() for one in layers if isinstance(one, Int8Linear))
    saved = plans._memory(counted, asked, is_int8=False) - plans._memory(counted, asked, is_int8=True)
    assert saved * plans.GIB == pytest.approx(3 * small)
    told = replace(plans.plan_for(asked, 8, 0), memory_gib=16.0, int8_gib=9.0)
    assert 'with train.base_weights = "int8": 9.0 GiB of memory' in list(_training(asked, told))
    assert not any("int8" in line for line in _training(asked, replace(told, memory_gib=9.0)))


@pytest.mark.parametrize("lora", [{"use_dora": True}, {"method": "lokr"}])
def test_what_reads_the_bases_weights_is_refused_beside(lora: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"train\.base_weights"):
        resolve({"lora": lora, "train": {"base_weights": "int8"}})
