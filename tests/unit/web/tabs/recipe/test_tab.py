"""What the form says at its fields."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from veneer.recipe import resolve
from veneer.web.tabs.recipe import tab as recipe_tab
from veneer.web.tabs.recipe.fields import fields, values_of

STUDIO: Any = SimpleNamespace(workspace=SimpleNamespace(faults=lambda recipe: {}))
"""A studio in whose workspace everything is."""


@pytest.fixture
def tab() -> recipe_tab.RecipeTab:
    pytest.importorskip("gradio")
    nothing: Any = None
    return recipe_tab.RecipeTab(nothing, nothing, fields(), [], *[nothing] * 7)


def test_a_setting_that_does_not_act_is_marked_at_its_field_and_told_below(
    tab: recipe_tab.RecipeTab,
) -> None:
    shown = values_of(resolve({"train": {"snr_gamma": 2.0}}), tab.asked)
    recipe, marks, told = recipe_tab._read(STUDIO, tab, shown)
    assert recipe is not None
    marked = [field.name for field, mark in zip(tab.asked, marks, strict=True) if "not act" in mark["info"]]
    assert marked == ["train.snr_gamma"]
    assert "train.snr_gamma does not act: train.loss_weighting is none" in told


def test_a_recipe_whose_settings_all_act_is_not_marked(tab: recipe_tab.RecipeTab) -> None:
    _, marks, told = recipe_tab._read(STUDIO, tab, values_of(resolve({}), tab.asked))
    assert told == ""
    assert not [mark for mark in marks if "act" in mark["info"].split(". ")[0] and "does" in mark["info"]]
