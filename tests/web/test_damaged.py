"""Files that a person can damage, as the studio reads them: what is there is told, and no tab fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veneer.records.dataset import Dataset
from veneer.records.files import known_object
from veneer.web.jobs.events import last_end, read_events
from veneer.web.jobs.queue import JobBook
from veneer.web.tabs.dataset.gallery import checked_resolution, read_gallery
from veneer.web.tabs.runs import overview
from veneer.web.tabs.train import dashboard
from veneer.web.workspace import Workspace

DAMAGES = {
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "nothing in it": b"{}",
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 50_000,
    "digits": b'{"verdict": ' + b"1" * 5_000 + b"}",
    "no UTF-8": b'{"verdict": "\xff"}',
    "torn": b'{"verdict": "bet',
    "zeros": b"\0" * 64,
    "odd types": b'{"verdict": [], "measures": {"style": {"delta": 1, "ci95": 7}}, "resolution": "x",'
    b' "findings": [7, {"flag": []}], "name": 7, "recipe": [], "redo": 3, "pid": "x", "event": []}',
    "odd measures": b'{"verdict": "x", "measures": {"style": {"delta": 1, "ci95": ["a", 0]}, "prompt": 3}}',
}


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.create()
    workspace.run("one").root.mkdir(parents=True)
    workspace.run("one").recipe_toml.write_text("")
    (workspace.datasets / "dots" / "images").mkdir(parents=True)
    return workspace


def job(place: Workspace) -> Path:
    return place.private / "jobs" / "one" / "job.json"


def events(place: Workspace) -> Path:
    return place.private / "jobs" / "one" / "events.jsonl"


def metrics(place: Workspace) -> Path:
    return place.run("one").metrics_json


def record(place: Workspace) -> Path:
    return place.run("one").run_json


def check(place: Workspace) -> Path:
    return Dataset(place.datasets / "dots").check_json


def look(place: Workspace) -> None:
    """Everything that the tabs read of these files."""
    from veneer.web.studio import Studio

    studio = Studio(place, JobBook(place))
    for name in ("one", "two"):
        dashboard.status(studio, name)
    overview(studio)
    studio.queue()
    read_events(events(place))
    last_end(events(place))
    dataset = Dataset(place.datasets / "dots")
    assert checked_resolution(dataset) > 0
    read_gallery(place.datasets / "dots")


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", [job, events, metrics, record, check])
def test_a_damaged_file_ends_no_tab(
    with_gradio: None, place: Workspace, file: Callable[[Workspace], Path], content: bytes
) -> None:
    file(place).parent.mkdir(parents=True, exist_ok=True)
    file(place).write_bytes(content)
    look(place)


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_an_object_is_read_or_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    told: Any = known_object(tmp_path / "x.json")
    assert isinstance(told, dict)
    assert not known_object(tmp_path / "none.json")
    assert not known_object(tmp_path)
