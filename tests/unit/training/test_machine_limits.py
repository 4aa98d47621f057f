"""What a machine cannot do becomes the next best path, told in one line."""

from typing import Any

import pytest

from veneer.config import Recipe
from veneer.recipe import resolve
from veneer.training.machine_limits import Machine, fit_to_machine, this_machine

GPU = Machine("cuda", "Tesla T4", has_bf16=False, free_gib=15.0)


def fitted(machine: Machine, needed: float = 4.0, **train: Any) -> tuple[Recipe, list[str]]:
    events: list[Any] = []
    recipe = resolve({"train": train})
    return fit_to_machine(recipe, machine, lambda one: needed, events.append), [e.message for e in events]


@pytest.mark.parametrize(
    ("machine", "wanted", "got", "word"),
    [
        (GPU, "bf16", "fp16", "Tesla T4 has no bf16"),
        (Machine("mps", "MPS", False, None), "bf16", "no", "float32"),
        (Machine("mps", "MPS", False, None), "fp16", "no", "float32"),
        (Machine("cpu", "CPU", False, None), "bf16", "no", "slower"),
    ],
)
def test_precision_falls_to_the_next_best(machine: Machine, wanted: str, got: str, word: str) -> None:
    recipe, said = fitted(machine, mixed_precision=wanted)
    assert recipe.train.mixed_precision == got
    assert len(said) == 1
    assert word in said[0]
    assert "\n" not in said[0]


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        (GPU, "fp16"),
        (Machine("cuda", "H100", True, 70.0), "bf16"),
        (Machine("cpu", "CPU", True, None), "bf16"),
        (Machine("mps", "MPS", False, None), "no"),
    ],
)
def test_what_the_machine_can_do_stays(machine: Machine, wanted: str) -> None:
    recipe, said = fitted(machine, mixed_precision=wanted)
    assert recipe.train.mixed_precision == wanted
    assert said == []


def test_little_memory_turns_checkpointing_on() -> None:
    recipe, said = fitted(GPU, needed=14.0)
    assert recipe.train.gradient_checkpointing
    assert "14.0 GiB are needed and 15.0 GiB are free" in said[0]


def test_enough_memory_or_checkpointing_already_leaves_it() -> None:
    assert not fitted(GPU, needed=13.0)[0].train.gradient_checkpointing
    assert fitted(GPU, needed=99.0, gradient_checkpointing=True)[1] == []
    assert fitted(Machine("cpu", "CPU", True, None), needed=99.0)[1] == []


def test_this_machine_is_known() -> None:
    machine = this_machine()
    assert machine.kind in {"cpu", "cuda", "mps"}
    assert fit_to_machine(Recipe(), machine, lambda recipe: 0.0, lambda event: None) == Recipe()
