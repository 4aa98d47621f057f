import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.tiny import tiny_pictures
from veneer.cli import exit_status
from veneer.data.inspection import inspect_picture
from veneer.data.worker import Failure
from veneer.errors import DatasetError, VeneerError
from veneer.records.dataset import Dataset, Item
from veneer.records.pick import known_pick
from veneer.stages.check import CheckResult, check
from veneer.web.tabs.dataset.gallery import read_gallery


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six sound pictures, a small copy, a byte-equal copy, a blank and a broken one."""
    images = tiny_pictures(tmp_path / "images", 6, side_px=128)
    (tmp_path / "images" / "twin.png").write_bytes((images / "picture-000.png").read_bytes())
    Image.open(images / "picture-001.png").resize((64, 64)).save(images / "small.jpg")
    Image.new("RGB", (128, 128), "red").save(images / "uni.png")
    (images / "broken.png").write_bytes((images / "picture-002.png").read_bytes()[:300])
    folder = Dataset(tmp_path)
    folder.write_metadata(
        [Item(name, f"caption of {name}", {"licence": "CC0"}) for name in folder.picture_names()]
    )
    return folder


EXPECTED = {
    "images/broken.png": "broken",
    "images/small.jpg": "near-duplicate",
    "images/twin.png": "exact-duplicate",
    "images/uni.png": "blank",
}


def look(dataset: Dataset, **more: Any) -> CheckResult:
    return check(dataset.root, resolution=64, **more)


def test_every_kind_is_found_and_told(dataset: Dataset) -> None:
    events: list[Any] = []
    result = check(dataset.root, resolution=100, on_event=events.append)
    assert {f.file_name: f.flag for f in result.findings if f.flag != "small"} == EXPECTED
    assert [f.file_name for f in result.findings if f.flag == "small"] == ["images/small.jpg"]
    written = json.loads(dataset.check_json.read_text())
    assert written["counts"]["exact-duplicate"] == 1
    assert len(written["findings"]) == 5
    assert {row[0] for row in result.table} == {*EXPECTED.values(), "small"}
    assert {e.code for e in events if hasattr(e, "code")} == {f"check-{flag}" for flag in result.counts}


def test_the_contact_sheet_shows_each_flagged_picture_offline(dataset: Dataset) -> None:
    entry = {"file_name": "images/twin.png", "name": "holiday/été.png"}
    dataset.provenance_jsonl.write_text(json.dumps(entry) + "\n")
    result = look(dataset)
    page = result.contact_sheet.read_text("utf-8")
    assert "found as holiday/été.png" in page
    assert page.count(">the one to keep<") == page.count('class="pair"') == 2
    for finding in result.findings:
        assert finding.file_name in page
        assert finding.reason in html.unescape(page)
    assert page.count("data:image/jpeg;base64,") == 5  # two copies with their originals, and the blank one
    assert "not readable" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)


def test_apply_moves_with_captions_and_restore_brings_everything_back(dataset: Dataset) -> None:
    before = dataset.items()
    result = look(dataset, apply=True)
    assert result.moved == 4
    assert len(dataset.items()) == len(before) - 4
    assert (dataset.root / "rejected" / "twin.png").is_file()
    assert look(dataset).findings == ()
    restored = look(dataset, restore=True)
    assert restored.restored == 4
    assert dataset.items() == before
    assert (dataset.rejected / "reasons.jsonl").read_text() == ""


def test_restore_with_nothing_to_bring_back_says_so(dataset: Dataset) -> None:
    assert look(dataset, restore=True).summary == "0 pictures brought back from rejected/"


def test_a_copy_that_goes_is_not_held_against_others_by_the_embedder(dataset: Dataset) -> None:
    class Fake:
        name, tokenizer = "fake", None

        def image_features(self, pictures: list[Path]) -> np.ndarray:
            self.asked = len(pictures)
            return np.eye(len(pictures))

    embedder = Fake()
    look(dataset, embedder=embedder)
    assert embedder.asked == 7  # of nine that can be read two are copies


def test_the_command_moves_the_flags_it_is_told_and_says_what_was_not_looked_at(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(["check", str(dataset.root), "--resolution", "64", "--apply", "--flag", "blank"]) == 0
    told = capsys.readouterr()
    assert "1 moved to rejected/" in told.out
    assert "Not looked at: unsafe content" in told.out
    assert "almost one colour:" not in told.err  # the table says it already
    assert exit_status(["check", str(dataset.root), "--flag", "ugly"]) == 2
    assert "no such flag: ugly" in capsys.readouterr().err


def test_apply_acts_on_the_flags_that_are_asked_for(dataset: Dataset) -> None:
    assert look(dataset, apply=True, flags={"blank"}).moved == 1
    assert not (dataset.root / "images" / "uni.png").exists()


@pytest.mark.parametrize("step", ["reasons", "metadata"])
def test_an_interrupted_apply_loses_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = dataset.items()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    target = (
        "veneer.data.rejection._move" if step == "metadata" else "veneer.records.dataset.Dataset.remove_items"
    )
    monkeypatch.setattr(target, killed)
    with pytest.raises(KeyboardInterrupt):
        look(dataset, apply=True)
    monkeypatch.undo()
    look(dataset, apply=True)
    look(dataset, restore=True)
    assert dataset.items() == before


def test_a_second_look_measures_only_what_is_new(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(dataset)
    lines = (dataset.root / ".measures.jsonl").read_text().splitlines()
    assert look(dataset).findings == first.findings
    assert (dataset.root / ".measures.jsonl").read_text().splitlines() == lines
    Image.new("RGB", (128, 128), "blue").save(dataset.root / "images" / "uni.png")
    look(dataset)
    assert len((dataset.root / ".measures.jsonl").read_text().splitlines()) == len(lines) + 1


def test_a_picture_that_took_too_long_is_looked_at_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...
        def map(self, jobs: Iterable[Any]) -> Iterator[Any]:
            return ((name, Failure("not done within 20 s", timed_out=True)) for name, _ in jobs)

    with monkeypatch.context() as patch:
        patch.setattr("veneer.stages.check.Workers", Slow)
        assert look(dataset).counts == {"broken": 10}
    assert look(dataset).counts["broken"] == 1


def test_hugging_face_still_reads_the_folder(dataset: Dataset, tmp_path: Path) -> None:
    import datasets

    look(dataset, apply=True)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(dataset.root), split="train", cache_dir=str(tmp_path / ".cache")
    )
    assert len(loaded) == 6


def test_an_embedder_finds_pictures_far_from_the_query(tmp_path: Path) -> None:
    folder = Dataset(tmp_path)
    tiny_pictures(tmp_path / "images", 10)
    entries = [{"file_name": name, "query": "houses"} for name in folder.picture_names()]
    folder.provenance_jsonl.write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    class Fake:
        name, tokenizer = "fake", object()

        def image_features(self, pictures: list[Path]) -> np.ndarray:
            rows = np.eye(len(pictures), 12) * 0.9
            rows[:, 11] = np.linspace(0.30, 0.33, len(pictures))
            rows[4, 11] = 0.01
            return rows

        def text_features(self, texts: list[str]) -> np.ndarray:
            assert texts == ["houses"]
            return np.eye(12)[11:]

    fake: Any = Fake()
    result = check(tmp_path, resolution=64, embedder=fake)
    assert [(f.file_name, f.flag) for f in result.findings if f.flag == "far-from-query"] == [
        ("images/picture-004.png", "far-from-query")
    ]


def test_a_pick_leaves_out_copies_and_blanks_and_is_shown(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(["check", str(dataset.root), "--resolution", "64", "--pick", "3"]) == 0
    assert "3 pictures that differ most" in capsys.readouterr().out
    kept = known_pick(dataset)
    assert kept is not None and kept.embedder == "pocket"
    assert len(set(kept.pictures)) == 3 and not set(kept.pictures) & set(EXPECTED)
    sheet = (dataset.root / "check.html").read_text()
    assert "3 pictures that differ most" in sheet and sheet.count(f'alt="{kept.pictures[0]}"') == 1
    gallery = read_gallery(dataset.root)
    assert [card.name for card in gallery.shown("picked")] == list(kept.pictures)
    assert ("picked (3)", "picked") in gallery.filters()
    with pytest.raises(DatasetError, match="needs an embedder"):
        look(dataset, pick=3)


def test_a_real_embedder_is_understood(dataset: Dataset, clip_folder: Path) -> None:
    from veneer.models.embedder import load_embedder

    result = look(dataset, embedder=load_embedder(str(clip_folder)), query="a red circle")
    assert not any("query" in note for note in result.notes)


def test_a_safety_checker_is_asked_where_there_is_one(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    folder = tmp_path_factory.mktemp("checker")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32,
        patch_size=16, id2label={0: "normal", 1: "nsfw"}, label2id={"normal": 0, "nsfw": 1},
    )  # fmt: skip
    model = ViTForImageClassification(config)
    model.classifier.bias.data = model.classifier.bias.data.new_tensor([0.0, 50.0])
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    result = look(dataset, safety_checker=str(folder))
    assert result.counts["unsafe"] == 9
    with pytest.raises(VeneerError, match="safety checker cannot be loaded"):
        look(dataset, safety_checker=str(dataset.root))
    assert any("unsafe content" in note for note in look(dataset, safety_checker="none").notes)


def test_no_pictures_and_both_wishes_are_errors(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="exclude each other"):
        look(dataset, apply=True, restore=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        check(tmp_path / "empty")
    with pytest.raises(DatasetError, match="no such data set"):
        check(tmp_path / "none")


def test_measures_are_those_of_the_file(dataset: Dataset) -> None:
    seen = inspect_picture(dataset.root / "images" / "small.jpg")
    assert (seen.width, seen.height) == (64, 64)


def test_tags_are_counted_where_captions_are_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_pictures(tmp_path / "images", 3)
    tagged = Dataset(tmp_path)
    names = tagged.picture_names()
    shared = ["1girl, red dress, smile, long hair", "1girl, smile, hat, tree", "1girl, smile, solo, cat"]
    tagged.write_metadata([Item(*pair) for pair in zip(names, shared, strict=True)])
    assert exit_status(["check", str(tmp_path)]) == 0
    line = next(one for one in capsys.readouterr().out.splitlines() if one.startswith("Tags"))
    assert line == (
        "Tags of 3 captions: 1girl 3, smile 3, cat 1, hat 1, long hair 1, red dress 1, solo 1, tree 1; "
        "6 of 8 only once."
    )
    tagged.write_metadata([Item(name, "a girl, who smiles under a tree, in the rain") for name in names])
    assert not any(note.startswith("Tags") for note in look(tagged).notes)
