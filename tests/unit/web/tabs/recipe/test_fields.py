"""The form says what the config model says, and reads back what it shows."""

from typing import Any

import pytest

from veneer.config import Recipe
from veneer.recipe import bundled_names, known_keys, load_recipe
from veneer.web.tabs.recipe.fields import UPFRONT, fields, read_form, values_of


def test_every_key_of_a_recipe_is_a_field_once() -> None:
    names = [field.name for field in fields()]
    assert sorted(names) == sorted(key for key in known_keys() if "." in key)
    assert set(UPFRONT) <= set(names)


def test_every_field_has_a_sentence_and_its_default() -> None:
    assert all(len(field.sentence) > 15 and "Default: " in field.sentence for field in fields())


@pytest.mark.parametrize("name", [*bundled_names(), ""])
def test_what_is_shown_is_read_back(name: str) -> None:
    recipe = load_recipe(name) if name else Recipe()
    read, faults = read_form(fields(), values_of(recipe, fields()))
    assert not faults
    assert read == recipe


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.learning_rate", "1e-4", 1e-4),
        ("train.timestep_range", "0, 500", (0, 500)),
        ("train.timestep_range", "", None),
        ("collect.limit", "none", None),
        ("generate.seeds", "1 2;3", (1, 2, 3)),
        ("generate.prompts", "a\n\n b ", ("a", "b")),
        ("lora.target_modules", "attention+ff", "attention+ff"),
        ("lora.target_modules", "to_k\nto_q", ("to_k", "to_q")),
        ("lora.rank_pattern", "mid_block = 8", {"mid_block": 8}),
        ("caption.replacements", "bald = red", {"bald": "red"}),
        ("base.vae", "", None),
    ],
)
def test_text_becomes_the_value_that_is_meant(
    key: str, text: str, value: dict[str, Any] | float | str | tuple[int | str, ...] | None
) -> None:
    asked = fields()
    shown = values_of(Recipe(), asked)
    shown[[field.name for field in asked].index(key)] = text
    recipe, faults = read_form(asked, shown)
    assert not faults
    table, name = key.split(".")
    assert getattr(getattr(recipe, table), name) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("train.learning_rate", "fast"), ("train.seed", "-1"), ("encode.resolution", "100"),
        ("encode.flip", "2"), ("generate.seeds", "one"), ("train.timestep_range", "5"),
        ("lora.rank_pattern", "a = b"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_at_its_field(key: str, text: str) -> None:
    asked = fields()
    shown = values_of(Recipe(), asked)
    shown[[field.name for field in asked].index(key)] = text
    recipe, faults = read_form(asked, shown)
    assert recipe is None
    assert list(faults) == [key]


def test_keys_that_contradict_each_other_are_told_at_the_field_to_change() -> None:
    asked = fields()
    shown = values_of(Recipe(), asked)
    shown[[field.name for field in asked].index("lora.target_modules")] = "none"
    recipe, faults = read_form(asked, shown)
    assert recipe is None
    assert list(faults) == ["lora.target_modules"]
    assert "nothing is trained" in faults["lora.target_modules"]


@pytest.mark.parametrize(
    "text", ["1" * 5_000, "[" * 5_000, "{a=" * 3_000, "2020-99-99", "", "[1,", "\0", "'"]
)
def test_whatever_stands_behind_an_equals_sign_is_read_or_told(text: str) -> None:
    asked = fields()
    shown = values_of(Recipe(), asked)
    place = [field.name for field in asked].index("caption.replacements")
    shown[place] = f"house = {text}"
    recipe, faults = read_form(asked, shown)
    assert (recipe is None) == bool(faults)
