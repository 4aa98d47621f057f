"""Words for a style, put into the form as `--style` puts them into a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from veneer.errors import RecipeError
from veneer.recipe import load_recipe

pytest.importorskip("gradio")

from veneer.web.server.engine import gr
from veneer.web.tabs.recipe.fields import Field, fields, values_of
from veneer.web.tabs.recipe.shortcuts import STYLE_KEYS, styled_fields


@pytest.fixture
def asked() -> list[Field]:
    known = {field.name: field for field in fields()}
    return [known[name] for name in STYLE_KEYS]


def shown(asked: list[Field]) -> list[Any]:
    return values_of(load_recipe("pocket-8bit"), asked)


def test_prefix_and_prompts_follow_the_style_as_on_the_command_line(asked: list[Field]) -> None:
    own = load_recipe("pocket-8bit", style="watercolour painting")
    prefix, prompts, name, told = styled_fields(asked, "watercolour painting", "", shown(asked))
    assert [prefix, prompts] == values_of(own, asked)
    assert name == "watercolour-painting"
    assert "watercolour painting of" in told


def test_a_name_that_is_written_stays(asked: list[Field]) -> None:
    assert styled_fields(asked, "pixel art", "mine", shown(asked))[2] == gr.skip()


@pytest.mark.parametrize("style", ["", "  ", "word " * 30])
def test_no_words_and_too_many_are_refused(asked: list[Field], style: str) -> None:
    with pytest.raises(RecipeError):
        styled_fields(asked, style, "", shown(asked))
