"""Captions changed by hand and all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.datasets import thirty_dots
from veneer.captions import editing
from veneer.errors import DatasetError
from veneer.records.dataset import Dataset
from veneer.stages.caption import caption_again


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return thirty_dots(tmp_path / "set")


def test_captions_change_by_hand(folder: Path) -> None:
    assert editing.set_caption(folder, "images/000000.png", "  new \n words ")
    assert not editing.set_caption(folder, "images/000000.png", "new words")
    assert editing.replace_text(folder, "red", r"\1 green") == 29
    assert editing.replace_text(folder, "re", "x") == 0
    assert editing.put_before(folder, "8-bit") == 30
    assert editing.put_before(folder, "8-bit") == 0
    texts = [item.caption for item in Dataset(folder).items()]
    assert texts[:2] == ["8-bit new words", r"8-bit a \1 green dot 1"]
    for change in (
        lambda: editing.set_caption(folder, "images/x.png", "x"),
        lambda: editing.replace_text(folder, " ", "x"),
    ):
        with pytest.raises(DatasetError):
            change()


def test_words_change_in_the_pictures_meant_alone(folder: Path) -> None:
    before = [item.caption for item in Dataset(folder).items()]
    assert editing.replace_text(folder, "red", "", "images/00000*", dry_run=True) == 9
    assert [item.caption for item in Dataset(folder).items()] == before
    assert editing.replace_text(folder, "RED", "", "00000*") == 9
    texts = [item.caption for item in Dataset(folder).items()]
    assert texts[:3] == ["", "a dot 1", "a dot 2"]
    assert texts[10:] == before[10:]
    with pytest.raises(DatasetError, match="no picture of this name"):
        editing.replace_text(folder, "red", "blue", "other/*")


def test_pictures_described_again_come_back_where_the_captioner_fails(folder: Path) -> None:
    from veneer.config import CaptionTable
    from veneer.errors import VeneerError

    before = Dataset(folder).items()
    with pytest.raises(VeneerError):
        table = CaptionTable(model=str(folder / "no such captioner"))
        caption_again(folder, ["images/000001.png"], table, lambda event: None)
    assert Dataset(folder).items() == before
