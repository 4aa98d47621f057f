"""Groups, schedules, and gradients in one piece."""

from __future__ import annotations

import math
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from veneer.config import Optimizer, TrainTable
from veneer.errors import RecipeError, RunError
from veneer.events import ignore
from veneer.training.network import WORD
from veneer.training.optimizers import OPTIMIZERS, Gradients, build_optimizer, parameter_groups, schedule_of

NAMES = (
    "mid.to_q.lora_A.weight",
    "mid.to_q.lora_B.weight",
    "mid.to_k.lora_A.weight",
    "mid.to_k.lora_B.weight",
)


def parameters() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.ones(3)) for name in NAMES}


def rates(settings: TrainTable) -> dict[str, float]:
    own = parameters()
    by_id = {id(p): group["lr"] for group in parameter_groups(own, settings) for p in group["params"]}
    return {name: by_id[id(parameter)] for name, parameter in own.items()}


def test_b_learns_faster_by_the_ratio() -> None:
    found = rates(TrainTable(learning_rate=1e-4, loraplus_ratio=16))
    assert found == {name: pytest.approx(16e-4 if "lora_B" in name else 1e-4) for name in NAMES}


def test_modules_have_rates_of_their_own() -> None:
    found = rates(TrainTable(learning_rate=1e-4, learning_rates={"to_q": 5e-4}))
    assert found == {name: 5e-4 if "to_q" in name else 1e-4 for name in NAMES}
    with pytest.raises(RecipeError, match="to_z"):
        rates(TrainTable(learning_rates={"to_z": 1e-3}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("constant_with_warmup", [0, 0.5, 1, 1, 1]),
        ("linear", [0, 0.5, 1, 0.5, 0]),
        ("cosine", [0, 0.5, 1, 0.5, 0]),
    ],
)
def test_schedules_are_those_of_diffusers_as_functions_of_the_step(name: str, expected: list[float]) -> None:
    warmup = 0 if name == "constant" else 2
    schedule = schedule_of(TrainTable(lr_scheduler=name, max_train_steps=10, lr_warmup_steps=warmup))
    at = [0, 1, 2, 6, 10]
    assert [schedule(step) for step in at] == pytest.approx(expected, abs=1e-9)


def test_restarts_come_back_to_the_peak() -> None:
    schedule = schedule_of(TrainTable(lr_scheduler="cosine_with_restarts", max_train_steps=30))
    assert [schedule(step) for step in (0, 10, 20)] == pytest.approx([1, 1, 1])
    assert schedule(9) < 0.1


def test_the_rate_is_a_function_of_step_and_cut_alone() -> None:
    settings = TrainTable(max_train_steps=10, learning_rate=1e-3)
    optimizer = build_optimizer(parameters(), settings, torch.device("cpu"), ignore)
    for step in (7, 2, 7):
        expected = 1e-3 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 10))
        assert optimizer.set_rate(step, 1.0) == pytest.approx(expected)
    assert optimizer.set_rate(7, 0.5) == pytest.approx(expected / 2)


def test_gradients_are_views_that_backward_adds_into() -> None:
    own = list(parameters().values())
    gradients = Gradients(own)
    for _ in range(2):
        torch.stack([(p * p).sum() for p in own]).sum().backward()
    assert all(bool((p.grad == 4).all()) for p in own)
    before, after = gradients.clip(1.0)
    assert float(before) == pytest.approx(4 * math.sqrt(12))
    assert float(after) == pytest.approx(1.0, rel=1e-5)
    expected = [p.grad.clone() for p in own]
    reference = [nn.Parameter(torch.ones(3)) for _ in own]
    for parameter in reference:
        parameter.grad = torch.full((3,), 4.0)
    nn.utils.clip_grad_norm_(reference, 1.0)
    assert all(torch.allclose(a, b.grad) for a, b in zip(expected, reference, strict=True))
    gradients.zero()
    assert all(bool((p.grad == 0).all()) for p in own)
    gradients.clip(1.0)
    assert all(bool((p.grad == 0).all()) for p in own)


def test_small_gradients_are_left_alone() -> None:
    own = list(parameters().values())
    gradients = Gradients(own)
    own[0].grad.fill_(0.01)
    before, after = gradients.clip(1.0)
    assert float(before) == float(after) == pytest.approx(0.01 * math.sqrt(3))


def test_a_stepper_held_still_has_its_rate_on_the_device_and_is_saved_as_any_other() -> None:
    own = parameters()
    settings = TrainTable(learning_rate=1e-3, lr_scheduler="linear", max_train_steps=10, loraplus_ratio=2)
    plain = build_optimizer(own, settings, torch.device("cpu"), ignore)
    saved = plain.state()
    still = plain.held_still()
    assert still is not None
    assert (plain.skips_on_device, still.skips_on_device) == (False, True)
    places = [group["lr"].data_ptr() for group in still.optimizer.param_groups]
    assert still.set_rate(3, 0.5) == pytest.approx(0.4e-3)
    assert [float(g["lr"]) for g in still.optimizer.param_groups] == pytest.approx([0.4e-3, 0.8e-3])
    groups = still.state()["param_groups"]
    assert [type(group["lr"]) for group in groups] == [float, float]
    assert [g | {"lr": 0} for g in groups] == [g | {"lr": 0} for g in saved["param_groups"]]
    still.load(saved)
    still.set_rate(1, 1.0)
    assert [group["lr"].data_ptr() for group in still.optimizer.param_groups] == places
    assert [float(g["lr"]) for g in still.optimizer.param_groups] == pytest.approx([1e-3, 2e-3])
    assert all(group["capturable"] for group in still.optimizer.param_groups)


def test_other_optimizers_cannot_be_held_still() -> None:
    settings = TrainTable(optimizer="adafactor")
    optimizer = build_optimizer(parameters(), settings, torch.device("cpu"), ignore)
    assert optimizer.held_still() is None
    assert build_optimizer(parameters(), TrainTable(), torch.device("mps"), ignore).held_still() is None


def test_a_step_held_still_skips_what_is_marked_and_nothing_else() -> None:
    own = parameters()
    optimizer = build_optimizer(own, TrainTable(), torch.device("cpu"), ignore).held_still()
    assert optimizer is not None
    for marked, moves in ((1.0, False), (0.0, True)):
        before = {name: parameter.detach().clone() for name, parameter in own.items()}
        for parameter in own.values():
            parameter.grad = torch.full((3,), math.nan if marked else 1.0)
        optimizer.optimizer.found_inf = torch.tensor(marked)
        optimizer.optimizer.step()
        assert all(torch.equal(before[name], own[name]) != moves for name in own)


def test_every_optimizer_of_a_recipe_is_a_row() -> None:
    assert sorted(OPTIMIZERS) == sorted(get_args(Optimizer))


def test_what_an_optimizer_needs_is_in_its_extra() -> None:
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    for spec in OPTIMIZERS.values():
        assert not spec.package or spec.package in extras["optional-dependencies"][spec.extra]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(RecipeError, match=r"the package schedulefree .*pip install 'veneer\[optimizers\]'"):
        build_optimizer(parameters(), TrainTable(optimizer="schedulefree"), torch.device("cpu"), ignore)


def test_what_zero_would_change_does_not_decay() -> None:
    """A magnitude of DoRA and a learnt word that decay go away from the base, not back to it."""
    names = ("up.lora_A.weight", "up.lora_magnitude_vector", WORD)
    mixed = {name: nn.Parameter(torch.ones(4)) for name in names}
    optimizer = build_optimizer(
        mixed, TrainTable(learning_rate=0.1, adam_weight_decay=0.5), torch.device("cpu"), ignore
    )
    for parameter in mixed.values():
        parameter.grad = torch.zeros(4)
    optimizer.set_rate(1, 1.0)
    optimizer.optimizer.step()
    values = [float(parameter.detach().mean()) for parameter in mixed.values()]
    assert values == pytest.approx([0.95, 1, 1])
    one_group = optimizer.state()
    one_group["param_groups"] = one_group["param_groups"][:1]
    with pytest.raises(RunError, match="earlier version"):
        optimizer.load(one_group)
