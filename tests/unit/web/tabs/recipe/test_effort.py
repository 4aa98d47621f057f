"""Quick, Balanced and Thorough, relative to a recipe."""

import pytest

from veneer.recipe import bundled_names, load_recipe
from veneer.web.tabs.recipe.effort import EFFORT_KEYS, told, with_effort


@pytest.mark.parametrize("name", bundled_names())
def test_balanced_is_the_recipe_itself(name: str) -> None:
    recipe = load_recipe(name)
    values = with_effort(recipe, "Balanced")
    assert tuple(values) == EFFORT_KEYS
    for key, value in values.items():
        table, one = key.split(".")
        assert getattr(getattr(recipe, table), one) == value


def test_quick_and_thorough_are_a_quarter_and_twice() -> None:
    recipe = load_recipe("pocket-8bit")
    quick, thorough = with_effort(recipe, "Quick"), with_effort(recipe, "Thorough")
    assert (quick["train.max_train_steps"], thorough["train.max_train_steps"]) == (42, 340)
    assert (quick["train.validation_steps"], thorough["train.validation_steps"]) == (21, 170)
    assert (quick["generate.seeds"], thorough["generate.seeds"]) == ((0,), (0, 1, 2, 3, 4, 5))
    assert "42 steps, 1 seed a prompt" in told(recipe, "Quick")


def test_what_is_off_stays_off() -> None:
    recipe = load_recipe("pocket-8bit", ["train.lr_warmup_steps=0", "train.preview_steps=1"])
    quick = with_effort(recipe, "Quick")
    assert (quick["train.lr_warmup_steps"], quick["train.preview_steps"]) == (0, 1)
