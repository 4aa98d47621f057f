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
def studio(tmp_path: Path) -> Studio:
    return Studio(Workspace(tmp_path), JobBook(Workspace(tmp_path)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data set "set" of the studio: thirty dots."""
    (tmp_path / "datasets").mkdir()
    return thirty_dots(tmp_path / "datasets" / "set")


def test_a_caption_left_while_the_studio_works_is_saved_once_that_is_done(
    folder: Path, studio: Studio
) -> None:
    pytest.importorskip("gradio")
    from veneer.web.tabs.dataset.work import saver

    saving = saver(studio, 0)(("set", ["images/000000.png"]), " by   hand ")
    with studio.at_work():
        assert "as soon as this is done" in next(saving)[1]
        assert Dataset(folder).items()[0].caption == ""
    text, told = next(saving)
    assert (text["value"], text["saved"]) == ("by hand", True)
    assert "is saved" in told
    assert Dataset(folder).items()[0].caption == "by hand"


def test_an_emptied_resolution_is_the_usual_one(folder: Path, studio: Studio) -> None:
    pytest.importorskip("gradio")
    from veneer.web.tabs.dataset.work import checker

    for resolution in (None, 0):
        told = [str(one) for one in checker(studio)("set", resolution)]
        assert "--resolution 512" in " ".join(told)


def test_a_change_of_all_captions_is_undone_but_for_what_was_changed_since(
    folder: Path, studio: Studio
) -> None:
    pytest.importorskip("gradio")
    from veneer.captions.editing import replace_text, set_caption
    from veneer.web.tabs.dataset.work import editor, undoer

    seen = ("set", "all", 1, "", "")
    *_, kept, told = editor(studio, replace_text)(*seen, "red", "blue")
    assert "29 captions changed" in told
    set_caption(folder, "images/000002.png", "by hand")
    assert "nothing to undo" in undoer(studio)("other", *seen[1:], kept)[-1]
    *_, left, told = undoer(studio)(*seen, kept)
    assert "28 captions are as they were. 1 were changed since and stay." in told
    captions = [item.caption for item in Dataset(folder).items()]
    assert captions[:4] == ["", "a Red dot 1", "by hand", "a Red dot 3"]
    assert "nothing to undo" in undoer(studio)(*seen, left)[-1]


def test_all_pictures_of_a_page_are_chosen_and_no_others() -> None:
    pytest.importorskip("gradio")
    from veneer.web.server.engine import gr
    from veneer.web.tabs.dataset import gallery
    from veneer.web.tabs.dataset.work import chooser

    ticks = chooser(True)(("set", ["images/1.png", "images/2.png"]))
    assert [(tick["value"], tick["of"]) for tick in ticks[:2]] == [
        (True, "set/images/1.png"), (True, "set/images/2.png"),
    ]  # fmt: skip
    assert ticks[2:] == [gr.skip()] * (gallery.PAGE - 2)
