"""The pictures of a data set as the page lists them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from helpers.datasets import thirty_dots
from veneer.data.findings import Finding
from veneer.data.rejection import bring_back, move_away
from veneer.records.dataset import Dataset
from veneer.records.files import write_json
from veneer.records.jsonlines import append_lines
from veneer.web.tabs.dataset import gallery


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return thirty_dots(tmp_path / "set")


def test_filters_count_what_they_show(folder: Path) -> None:
    found = [{"file_name": "images/000003.png", "flag": "blurry", "reason": "soft", "other": ""}]
    write_json(folder / "check.json", {"findings": found})
    shown = gallery.read_gallery(folder)
    assert dict(shown.filters()).keys() == {
        "all (30)", "no caption (1)", "flagged (1)", "blurry (1)", "rejected (0)",
    }  # fmt: skip
    assert [card.name for card in shown.shown("blurry")] == ["images/000003.png"]
    assert [card.name for card in shown.shown("no caption")] == ["images/000000.png"]


def test_rejected_pictures_come_back_one_by_one(folder: Path) -> None:
    dataset = Dataset(folder)
    names = ["images/000001.png", "images/000002.png"]
    assert move_away(dataset, {name: [Finding(name, "by-hand", "ugly")] for name in names}) == 2
    rejected = gallery.read_gallery(folder).shown("rejected")
    assert [(card.name, card.caption, card.can_return) for card in rejected] == [
        (names[0], "a Red dot 1", True),
        (names[1], "a Red dot 2", True),
    ]
    assert bring_back(dataset, [names[1]]) == 1
    assert len(dataset.picture_names()) == 29
    assert {item.file_name: item.caption for item in dataset.items()}[names[1]] == "a Red dot 2"
    assert [card.name for card in gallery.read_gallery(folder).shown("rejected")] == [names[0]]


def test_a_damaged_line_of_what_was_left_out_takes_no_other_with_it(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    whole = {"file": "rejected/a.png", "origin": "/x/a.png", "stage": "collect", "reason": "truncated"}
    leads_out = {**whole, "file": "../outside.png"}
    lines = [
        json.dumps(whole),
        "no json",
        '{"file": "x"}',
        "[" * 5000,
        json.dumps(leads_out),
        '{"file": "rej',
    ]
    (folder / "rejected").mkdir(exist_ok=True)
    (folder / "rejected" / "reasons.jsonl").write_text("\n".join(lines), "utf-8")
    shown = gallery.read_gallery(folder)
    assert len(shown.cards) == 30
    assert [card.notes for card in shown.rejected].count(("its line in reasons.jsonl is damaged",)) == 4
    assert [card.path.name for card in shown.rejected if card.name == "a.png"] == ["a.png", "not kept"]


def test_pictures_are_found_by_words_in_own_names_and_captions_and_sorted(folder: Path) -> None:
    origins = ["/home/me/Zebra.JPG", "https://example.org/a/Apple.png?size=3", "C:\\pictures\\mole.png"]
    lines = [
        {"file_name": f"images/{number:06d}.png", "origin": origin, "size": [64 * number, 64]}
        for number, origin in enumerate(origins, start=1)
    ]
    append_lines(Dataset(folder).provenance_jsonl, lines)
    shown = gallery.read_gallery(folder)
    assert [card.own for card in shown.cards[:4]] == ["", "Zebra.JPG", "Apple.png", "mole.png"]
    assert [card.own for card in shown.sorted("all", "zebra")] == ["Zebra.JPG"]
    assert [card.caption for card in shown.sorted("all", "RED dot 29")] == ["a Red dot 29"]
    assert [card.own for card in shown.sorted("all", "", "own file name")][-3:] == [
        "Apple.png", "mole.png", "Zebra.JPG",
    ]  # fmt: skip
    assert shown.sorted("all", "", "largest first")[0].own == "mole.png"
    assert shown.sorted("all", "", "no such order") == shown.shown("all")
    assert shown.sorted("rejected", "zebra") == []
