"""Stopping: quiet where nothing is at work, and told while it goes on."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from PIL import Image

from veneer.records.files import write_json
from veneer.web.jobs.queue import JobBook, QueuedRun
from veneer.web.studio import Studio
from veneer.web.workspace import Workspace

pytest.importorskip("gradio")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    place = Workspace(tmp_path / "workspace")
    place.create()
    (place.runs / "one").mkdir(parents=True)
    return Studio(place, JobBook(place))


@pytest.mark.parametrize("name", ["one", "", None])
def test_stop_is_quiet_where_nothing_is_at_work(studio: Studio, name: str | None) -> None:
    from veneer.web.tabs.train.tab import stop_run

    told = stop_run(studio, name)
    assert "v-bad" not in told
    assert ("one is not at work" if name else "No run is shown") in told


def test_previews_say_at_which_step_they_were_drawn(studio: Studio) -> None:
    from veneer.web.tabs.train import dashboard

    place = studio.workspace.run("one").previews / "step-000085" / "001-0.png"
    place.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place)
    assert "step 85: prompt 2, seed 0" in dashboard.previews(studio, "one")


def test_a_run_told_to_stop_is_stopping_until_it_is_done(studio: Studio) -> None:
    from veneer.web.tabs.train import dashboard

    born = psutil.Process().create_time()
    job = QueuedRun("one", "pocket-8bit", "runs/one", pid=os.getpid(), born=born, is_stopped=True)
    write_json(studio.jobs.root / "one" / "job.json", asdict(job))
    assert ">stopping<" in dashboard.status(studio, "one")
    write_json(studio.jobs.root / "one" / "job.json", asdict(job) | {"pid": 2**22 + 1})
    shown = dashboard.status(studio, "one")
    assert ">stopped<" in shown and ">stopping<" not in shown
