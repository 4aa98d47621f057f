"""The data stages over a cluster whose processes are objects of this one: the bytes of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.cluster import HERE, PoolHere, pools_here
from helpers.clusterruns import contents, odd_recipe, odd_sources
from helpers.webserver import web_server
from veneer import pipeline
from veneer.cluster import encoding
from veneer.cluster.collecting import Standards
from veneer.cluster.stages import OVER
from veneer.config import Recipe
from veneer.encoding.planning import plan_encoding
from veneer.errors import DatasetError
from veneer.events import Event, Notice
from veneer.outcomes import RunResult
from veneer.records.run import RunDir

pytestmark = pytest.mark.timeout(300)
INSTEAD = {stage: partial(perform, HERE) for stage, perform in OVER.items()}
Told = list[Event]


@pytest.fixture(scope="module")
def recipe(
    base_folder: Path, blip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recipe]:
    with web_server() as web:
        sources = odd_sources(tmp_path_factory.mktemp("sources"), web)
        yield odd_recipe(base_folder, blip_folder, sources)


def to_encode(recipe: Recipe, root: Path, told: Told, **more: Any) -> RunResult:
    return pipeline.run(
        recipe, root, until="encode", on_event=told.append, allow_private_addresses=True, **more
    )


@pytest.fixture(scope="module")
def plain(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, RunResult, Told]:
    run, told = RunDir(tmp_path_factory.mktemp("plain") / "run"), list[Event]()
    return run, to_encode(recipe, run.root, told), told


def test_the_run_is_that_of_one_machine_to_the_byte_and_tells_the_same(
    recipe: Recipe,
    plain: tuple[RunDir, RunResult, Told],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools_here(monkeypatch)
    planned: list[object] = []
    usual = plan_encoding
    monkeypatch.setattr(encoding, "plan_encoding", lambda *a: planned.append(a) or usual(*a))
    monkeypatch.setattr("veneer.stages.encode.plan_encoding", None)  # the cluster's plan is the only one
    monkeypatch.setattr("veneer.captions.captioning.Describer", None)
    other, result, told = plain
    run, here = RunDir(tmp_path / "run"), list[Event]()
    done = to_encode(recipe, run.root, here, instead=INSTEAD)
    assert contents(run.dataset) == contents(other.dataset)
    assert contents(run.cache) == contents(other.cache)
    assert len(planned) == 1

    def lines(one: RunResult, root: RunDir) -> list[str]:
        return [stage.summary.replace(str(root.root), "") for stage in one.stages]

    assert lines(done, run) == lines(result, other)
    notices = [sorted(one.message for one in events if isinstance(one, Notice)) for events in (told, here)]
    assert notices[0] == notices[1]
    assert len(notices[0]) > 3
    monkeypatch.setattr(PoolHere, "call", None)  # what is done is not done again
    to_encode(recipe, run.root, [], redo=["check", "caption", "encode"], instead=INSTEAD)
    assert contents(run.cache) == contents(other.cache)


def test_a_picture_that_a_machine_does_not_see_is_no_broken_one(tmp_path: Path) -> None:
    answer = Standards().standardise((str(tmp_path / "elsewhere.png"), str(tmp_path / "new")))
    assert isinstance(answer.error, DatasetError)
    assert "does not see it" in str(answer.error)
    assert "elsewhere.png" in str(answer.error)
