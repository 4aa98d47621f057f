"""What the browser keeps of a form, and what comes back from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from veneer.recipe import load_recipe
from veneer.web.jobs.queue import JobBook
from veneer.web.studio import DEMO, Studio
from veneer.web.workspace import Workspace

pytest.importorskip("gradio")

from veneer.web.tabs.recipe import draft
from veneer.web.tabs.recipe.fields import fields, values_of

ASKED = fields()
FIRST = values_of(load_recipe(DEMO), ASKED)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    place = Workspace(tmp_path / "workspace")
    place.create()
    return Studio(place, JobBook(place))


def test_only_what_was_changed_is_kept_and_comes_back(studio: Studio) -> None:
    at = next(n for n, field in enumerate(ASKED) if field.name == "generate.negative_prompt")
    shown = [*FIRST[:at], "fog", *FIRST[at + 1 :]]
    kept = draft.draft_of(studio, DEMO, ASKED, shown)
    assert kept == {"start": DEMO, "changed": {"generate.negative_prompt": "fog"}}
    assert draft.values_in(studio, kept, ASKED) == (DEMO, shown)
    assert draft.values_in(studio, draft.draft_of(studio, DEMO, ASKED, FIRST), ASKED) is None


@pytest.mark.parametrize(
    "kept", [None, 3, [], {"start": []}, {"changed": 3}, {"changed": {"train.seed": ["x"]}, "start": "../no"}]
)
def test_odd_drafts_change_nothing(studio: Studio, kept: Any) -> None:
    found = draft.values_in(studio, kept, ASKED)
    assert found is None or found == (DEMO, FIRST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.learning_rate", 1),
        ("train.preview_steps", 7),
        ("train.max_train_steps", 2.5),
        ("lora.rank", None),
    ],
)
def test_a_number_comes_back_however_the_browser_writes_it(studio: Studio, name: str, value: Any) -> None:
    at = [field.name for field in ASKED].index(name)
    shown = [*FIRST[:at], value, *FIRST[at + 1 :]]
    assert draft.values_in(studio, draft.draft_of(studio, DEMO, ASKED, shown), ASKED) == (DEMO, shown)
