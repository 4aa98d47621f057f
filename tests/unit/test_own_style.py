"""Pictures and a style of one's own: no word of the recipe's style is left in captions and prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from veneer.errors import RecipeError
from veneer.own_style import folder_name, prefix_of
from veneer.recipe import bundled_names, load_recipe

STYLE = "watercolour painting"


@pytest.mark.parametrize("name", bundled_names())
def test_captions_and_prompts_follow_the_style(name: str) -> None:
    recipe = load_recipe(name, pictures=["my-pictures"], style=STYLE)
    assert recipe.collect.sources == ("my-pictures",)
    assert recipe.caption.prefix == "watercolour painting of"
    assert all(prompt.startswith("watercolour painting of ") for prompt in recipe.generate.prompts)
    words = recipe.model_dump_json(exclude={"train"})
    assert "8-bit" not in words, words


@pytest.mark.parametrize("name", [name for name in bundled_names() if load_recipe(name).caption.prefix])
def test_pictures_without_words_for_their_style_are_refused(name: str) -> None:
    prefix = load_recipe(name).caption.prefix
    with pytest.raises(RecipeError, match=rf"{prefix}.*--style"):
        load_recipe(name, pictures=["my-pictures"])


def test_settings_come_last() -> None:
    recipe = load_recipe("sd15-style", ["caption.prefix=an ink drawing of"], pictures=["x"], style=STYLE)
    assert recipe.caption.prefix == "an ink drawing of"


def test_a_recipe_without_a_prefix_takes_pictures_without_words(tmp_path: Path) -> None:
    file = tmp_path / "plain.toml"
    file.write_text('[generate]\nprompts = ["a cat"]\n')
    recipe = load_recipe(str(file), pictures=["x", "y"])
    assert (recipe.collect.sources, recipe.generate.prompts) == (("x", "y"), ("a cat",))


@pytest.mark.parametrize(
    ("style", "prefix"),
    [
        ("pixel art", "pixel art of"),
        ("  an  oil   painting ", "an oil painting of"),
        ("8-bit illustration of", "8-bit illustration of"),
        ("in the style of mira", "a picture in the style of mira of"),
        ("mira style,", "mira style,"),
    ],
)
def test_a_style_becomes_words_before_a_thing(style: str, prefix: str) -> None:
    assert prefix_of(style) == prefix


def test_a_style_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(RecipeError, match="200 words"):
        load_recipe("sd15-style", style="word " * 200)


@pytest.mark.parametrize(
    ("style", "name"), [(STYLE, "watercolour-painting"), ("a/b: ../c", "a-b-c"), ("!", "own")]
)
def test_the_folder_is_called_after_the_style(style: str, name: str) -> None:
    assert folder_name(style) == name
