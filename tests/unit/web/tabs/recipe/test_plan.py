"""Minutes and memory beside the form: told without the network, counted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from veneer.recipe import load_recipe
from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.tabs.recipe import plan
from veneer.web.workspace import Workspace


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    def no_network(*_: Any, **__: Any) -> Any:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("veneer.models.modelfiles.snapshot_download", no_network)
    place = Workspace(tmp_path / "workspace")
    place.create()
    return Studio(place, JobBook(place))


def test_stable_diffusion_is_planned_without_its_files(studio: Studio) -> None:
    recipe = load_recipe("sd15-style", ["lora.target_modules=attention"])
    told = plan.takes_html(studio, recipe)
    assert "GiB" in told
    assert "Trained numbers" in plan.plan_html(studio, recipe)


def test_more_steps_take_longer_and_are_not_counted_again(studio: Studio) -> None:
    said = [_told(studio, steps) for steps in (60, 6000)]
    assert said[0] != said[1]
    counted = plan._plan_of.cache_info().misses
    _told(studio, 600)
    assert plan._plan_of.cache_info().misses == counted


def test_a_base_that_is_not_here_is_not_fetched_for_a_line(studio: Studio) -> None:
    told = plan.takes_html(studio, load_recipe("pocket-8bit", ["base.model=some/base"]))
    assert "Show the plan" in told


def _told(studio: Studio, steps: int) -> str:
    return plan.takes_html(studio, load_recipe("pocket-8bit", [f"train.max_train_steps={steps}"]))
