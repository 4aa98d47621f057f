"""Galleries, thumbnails, captions changed by hand, curves: what the page shows of files."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from veneer.captions import editing
from veneer.data.findings import Finding
from veneer.data.rejection import bring_back, move_away
from veneer.errors import DatasetError
from veneer.records.dataset import Dataset, Item
from veneer.records.files import write_json
from veneer.stages.caption import caption_again
from veneer.web import markup
from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.tabs.compare import pairs as pictures_beside
from veneer.web.tabs.dataset import gallery
from veneer.web.tabs.dataset.thumbnails import SIDE_PX, thumbnail
from veneer.web.tabs.dataset.view import look_ahead
from veneer.web.tabs.train import curves
from veneer.web.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "set/images").mkdir(parents=True)
    items = []
    for number in range(30):
        pixels = random.integers(0, 255, (40 + number, 50, 3), dtype=np.uint8)
        name = f"images/{number:06d}.png"
        Image.fromarray(pixels).save(tmp_path / "set" / name)
        items.append(Item(name, f"a Red dot {number}" if number else ""))
    Dataset(tmp_path / "set").write_metadata(items)
    return tmp_path / "set"


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


def test_thumbnails_are_made_once_and_anew_where_the_picture_changed(folder: Path, tmp_path: Path) -> None:
    picture = folder / "images/000001.png"
    first = thumbnail(picture, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.webp")
    stamp = kept.stat().st_mtime_ns
    assert thumbnail(picture, tmp_path / "cache") == first
    assert kept.stat().st_mtime_ns == stamp
    Image.new("RGB", (900, 300), "red").save(picture)
    again = thumbnail(picture, tmp_path / "cache")
    assert again != first


def test_a_thumbnail_may_be_asked_for_while_it_is_made(folder: Path, tmp_path: Path) -> None:
    def make(number: int) -> list[Any]:
        return [thumbnail(path, tmp_path / "cache") for path in sorted((folder / "images").iterdir())]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(make, range(8))
    assert all(first)
    assert all(other == first for other in others)


def test_thumbnails_keep_to_their_size_and_broken_pictures_have_none(tmp_path: Path) -> None:
    import io

    Image.new("RGB", (900, 300), "red").save(tmp_path / "wide.png")
    small = Image.open(io.BytesIO(thumbnail(tmp_path / "wide.png", tmp_path / "c")))
    assert small.width == SIDE_PX
    assert abs(small.height - SIDE_PX / 3) < 1
    (tmp_path / "broken.png").write_bytes(b"no")
    assert thumbnail(tmp_path / "broken.png", tmp_path / "c") == b""
    assert thumbnail(tmp_path / "none.png", tmp_path / "c") == b""


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


def test_pictures_described_again_come_back_where_the_captioner_fails(folder: Path) -> None:
    from veneer.config import CaptionTable
    from veneer.errors import VeneerError

    before = Dataset(folder).items()
    with pytest.raises(VeneerError):
        table = CaptionTable(model=str(folder / "no such captioner"))
        caption_again(folder, ["images/000001.png"], table, lambda event: None)
    assert Dataset(folder).items() == before


def test_what_comes_from_files_is_escaped() -> None:
    bad = "<script>alert(1)</script>\"'"
    parts = [
        markup.failure(bad, bad), markup.news(bad), markup.empty(bad, bad), markup.badge(bad),
        markup.facts([(bad, bad)]), markup.table(bad, [bad], []), markup.picture(b"", bad),
        markup.command([bad]),
    ]  # fmt: skip
    assert not [part for part in parts if "<script>" in part or "\"'" in part]


def test_a_chart_tells_its_last_value(tmp_path: Path) -> None:
    rest = '"lr": 0.001, "grad_norm": 1.0, "images_per_second": 8.0'
    lines = [f'{{"step": {n}, "loss": {1 / n}, {rest}}}' for n in range(1, 999)]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 9']))
    shown = curves.training_charts(tmp_path / "log.jsonl", {0: 1.0, 900: 0.5})
    assert shown.count('role="img"') == 4
    assert "held out 0.5" in shown
    assert len(shown) < 40_000
    assert curves.training_charts(tmp_path / "none.jsonl", {}) == ""


def test_base_and_tuned_are_found_by_name(tmp_path: Path) -> None:
    for side in ("base", "tuned"):
        (tmp_path / side).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / side / "000-7.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "tuned" / "001-7.png")
    write_json(
        tmp_path / "prompts.json",
        [{"index": n, "prompt": text, "kind": "recipe"} for n, text in enumerate(["a <b>", "c"])],
    )
    (pair,) = pictures_beside.find_beside(tmp_path / "base", tmp_path / "tuned", tmp_path / "prompts.json")
    shown = pictures_beside.slider(pair)
    assert 'alt="Tuned: a &lt;b&gt; · seed 7"' in shown
    assert 'type="range"' in shown


def test_the_first_pages_thumbnails_are_made_before_anybody_looks(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    for name, count in (("a", gallery.PAGE + 3), ("b", 2)):
        (workspace.dataset(name) / "images").mkdir(parents=True)
        items = [Item(f"images/{number:06d}.png", "") for number in range(count)]
        for number, item in enumerate(items):
            Image.new("RGB", (30, 20), (number, 0, 0)).save(workspace.dataset(name) / item.file_name)
        Dataset(workspace.dataset(name)).write_metadata(items)
    look_ahead(Studio(workspace, JobBook(workspace)))
    wait_for_thumbnails()
    assert len(list(workspace.thumbnails.rglob("*.webp"))) == gallery.PAGE


def test_looking_ahead_at_a_broken_data_set_is_silent(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    workspace.dataset("a").mkdir()
    Dataset(workspace.dataset("a")).metadata_csv.write_text("nonsense")
    look_ahead(Studio(workspace, JobBook(workspace)))
    wait_for_thumbnails()
    assert not recwarn.list  # pytest warns of an exception in a thread
    assert not workspace.thumbnails.exists()


def wait_for_thumbnails() -> None:
    for thread in threading.enumerate():
        if thread.name == "veneer-thumbnails":
            thread.join(10)
