"""What the buttons of the tab Data set do."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.datasets import thirty_dots
from veneer.records.dataset import Dataset
from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return thirty_dots(tmp_path / "set")


def test_a_caption_left_while_the_studio_works_is_saved_once_that_is_done(
    folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("gradio")
    from veneer.web.tabs.dataset.work import saver

    studio = Studio(Workspace(tmp_path), JobBook(Workspace(tmp_path)))
    (tmp_path / "datasets").mkdir()
    folder = folder.rename(tmp_path / "datasets" / "set")
    saving = saver(studio, 0)(("set", ["images/000000.png"]), " by   hand ")
    with studio.at_work():
        assert "as soon as this is done" in next(saving)[1]
        assert Dataset(folder).items()[0].caption == ""
    text, told = next(saving)
    assert (text["value"], text["saved"]) == ("by hand", True)
    assert "is saved" in told
    assert Dataset(folder).items()[0].caption == "by hand"


def test_an_emptied_resolution_is_the_usual_one(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    from veneer.web.tabs.dataset.work import checker

    studio = Studio(Workspace(tmp_path), JobBook(Workspace(tmp_path)))
    (tmp_path / "datasets").mkdir()
    folder.rename(tmp_path / "datasets" / "set")
    for resolution in (None, 0):
        told = [str(one) for one in checker(studio)("set", resolution)]
        assert "--resolution 512" in " ".join(told)
