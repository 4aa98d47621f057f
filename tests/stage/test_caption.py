import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import captioners
from helpers.tiny import tiny_pictures
from veneer.captions import captioning as captionwork
from veneer.captions.captioner import AGAIN, FIRST, Captioner, Decoding, load_captioner
from veneer.cli import exit_status
from veneer.config import CaptionTable
from veneer.data.picture import load_picture
from veneer.errors import CaptionerError, DatasetError
from veneer.records.dataset import Dataset, Item
from veneer.stages.caption import CaptionResult, caption
from veneer.stages.check import check
from veneer.stages.collect import collect


class Scripted:
    """A captioner that says what the test wants, by the picture's place in the set."""

    def __init__(self, first: list[str], again: list[str] | None = None) -> None:
        self.scripts = {FIRST: first, AGAIN: again or first}
        self.asked: list[tuple[int, Decoding]] = []

    def describe(self, pictures: list[Path], decoding: Decoding) -> list[str]:
        texts = self.scripts[decoding]
        start = sum(n for n, d in self.asked if d is decoding)
        self.asked.append((len(pictures), decoding))
        return texts[start : start + len(pictures)]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    folder = tiny_pictures(tmp_path / "source", 6)
    collect([str(folder)], tmp_path / "set")
    return Dataset(tmp_path / "set")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scripted]:
    def install(first: list[str], again: list[str] | None = None) -> Scripted:
        captioner = Scripted(first, again)
        monkeypatch.setattr(captionwork, "load_captioner", lambda *_: captioner)
        return captioner

    return install


GOOD = ["a red house", "a blue fish", "two green trees", "a boat at sea", "an old man", "one black cat"]


def captions(dataset: Dataset) -> list[str]:
    return [item.caption for item in dataset.items()]


def run(dataset: Dataset, **more: Any) -> tuple[CaptionResult, list[Any]]:
    events: list[Any] = []
    table = CaptionTable(**{"model": "m", **more.pop("table", {})})
    return caption(dataset.root, table, events.append, **more), [e for e in events if hasattr(e, "code")]


def test_a_real_captioner_writes_metadata_that_hugging_face_reads(
    dataset: Dataset, blip_folder: Path, tmp_path: Path
) -> None:
    import datasets

    result, _ = run(dataset, table={"model": str(blip_folder), "prefix": "picture of"})
    assert result.generated == 6
    assert all(text.startswith("picture of ") for text in captions(dataset))
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(dataset.root), split="train", cache_dir=str(tmp_path / "c")
    )
    assert loaded["caption"] == captions(dataset)
    again, _ = run(dataset, table={"model": str(blip_folder), "prefix": "picture of"})
    assert (again.generated, again.kept) == (0, 6)


def test_a_batch_gives_what_single_pictures_give(blip_folder: Path, picture_folder: Path) -> None:
    captioner = load_captioner(str(blip_folder))
    assert isinstance(captioner, Captioner)
    pictures = [load_picture(path) for path in sorted(picture_folder.glob("*.png"))[:4]]
    assert captioner.describe(pictures) == [captioner.describe([picture])[0] for picture in pictures]


def test_edited_and_given_captions_are_never_written_over(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    items = dataset.items()
    dataset.write_metadata([Item(items[0].file_name, "my own words", {"licence": "CC0"}), *items[1:]])
    captioner = script(GOOD)
    run(dataset)
    assert captioner.asked == [(5, FIRST)]
    edited = [Item(i.file_name, "edited") if n == 3 else i for n, i in enumerate(dataset.items())]
    dataset.write_metadata(edited)
    for overwrite in (False, True):
        script(["other words", "one", "two", "three", "four"])
        result, _ = run(dataset, overwrite=overwrite)
        assert (result.by_person, result.edited) == (2, 1)
        assert captions(dataset)[0] == "my own words"
        assert captions(dataset)[3] == "edited"
    assert captions(dataset)[1] == "other words"
    assert dataset.items()[0].extra == {"licence": "CC0"}
    records = [json.loads(line) for line in (dataset.root / "captions.jsonl").read_text().splitlines()]
    assert [number for number, record in enumerate(records) if record["by"] == "person"] == [0, 3]
    assert [record["edited"] for record in records] == [False] * 3 + [True] + [False] * 2


def test_faults_are_asked_again_once_and_the_better_one_kept(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    first = ["a bald bald bald man", "araffe in a field", "", *GOOD[3:]]
    captioner = script(first, ["a bald man", "arafed thing thing thing", ""])
    result, notices = run(dataset)
    assert captioner.asked == [(6, FIRST), (3, AGAIN)]
    assert captions(dataset)[:3] == ["a bald man", "araffe in a field", ""]
    assert result.asked_again == 3
    assert result.faults == {"artefact": 1, "empty": 1}
    assert {notice.code for notice in notices} == {"caption-artefact", "caption-empty"}
    assert "images/000002.png" in next(n.message for n in notices if n.code == "caption-artefact")


class Meaning:
    """A CLIP that knows for each picture of the set, by its place, what fits it."""

    tokenizer = None

    def __init__(self, fitting: set[str]) -> None:
        self.fitting = fitting

    def image_features(self, pictures: list[Path]) -> np.ndarray:
        return np.eye(len(pictures))

    def text_features(self, texts: list[str]) -> np.ndarray:
        rows = np.full((len(texts), len(texts)), 0.5)
        for place, text in enumerate(texts):
            rows[place, place] = 1.0 if text in self.fitting else 0.1
        return rows


def test_a_caption_that_fits_badly_is_asked_again_and_held_against_the_whole_set(
    tmp_path: Path, script: Callable[..., Scripted]
) -> None:
    collect([str(tiny_pictures(tmp_path / "source", 12))], tmp_path / "set")
    words = ("red", "blue", "old", "new", "big", "tall", "dark", "light", "soft", "hard", "cold", "warm")
    first = [f"{word} thing" for word in words]
    captioner = script(first, ["a sleeping dog", "some noise"])
    fitting = {*first, "a sleeping dog"} - {first[2], first[7]}
    result, notices = run(Dataset(tmp_path / "set"), embedder=Meaning(fitting))
    assert captioner.asked[-1] == (2, AGAIN)
    assert captions(Dataset(tmp_path / "set")) == [*first[:2], "a sleeping dog", *first[3:]]
    assert result.faults == {"low-agreement": 1}
    assert "images/000008.png" in next(n.message for n in notices if n.code == "caption-low-agreement")


def test_text_files_beside_pictures_are_a_persons_captions(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    (dataset.root / "images" / "000002.txt").write_bytes("ein schönes\r\nHaus".encode("cp1252"))
    captioner = script(GOOD)
    result, notices = run(dataset)
    assert captioner.asked == [(5, FIRST)]
    assert captions(dataset)[1] == "ein schönes Haus"
    assert result.by_person == 1
    assert "images/000002.png" in next(n.message for n in notices if n.code == "caption-from-text")


def test_captions_that_many_share_are_asked_again(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    script(["a house"] * 4 + GOOD[4:], ["a red house", "a tall tower", "the houses", "a hut"])
    result, _ = run(dataset)
    assert captions(dataset) == ["a red house", "a tall tower", "the houses", "a hut", *GOOD[4:]]
    assert result.faults == {}


def test_an_interrupted_command_goes_on(
    dataset: Dataset, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captionwork, "CAPTION_BATCH_SIZE", 2)
    captioner: Any = script(GOOD)
    describe = captioner.describe

    def interrupted(pictures: list[Path], decoding: Decoding) -> list[str]:
        if len(captioner.asked) == 2:
            raise KeyboardInterrupt
        return describe(pictures, decoding)

    captioner.describe = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(dataset)
    assert captions(dataset) == [""] * 6
    captioner = script(GOOD[4:])
    result, _ = run(dataset)
    assert (result.generated, result.kept) == (2, 4)
    assert captions(dataset) == GOOD
    assert not list(dataset.root.glob(".captions-*"))


class Stubborn:
    """A captioner whose words depend on the picture and the round alone; it stops at one of its calls."""

    def __init__(self, stop: int) -> None:
        self.left = stop

    def describe(self, pictures: list[Any], decoding: Decoding) -> list[str]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        greys = [sum(picture.convert("L").resize((1, 1)).tobytes()) for picture in pictures]
        if decoding is AGAIN:
            return [f"the thing number {grey} with {len(pictures)}" for grey in greys]
        return [
            "thing thing thing thing" if grey % 2 else f"thing {grey} of {len(pictures)}" for grey in greys
        ]


@pytest.mark.parametrize("stop", range(6))
def test_captions_are_the_same_wherever_the_command_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Those of before a stop were not looked at: their faults stayed, and the last batch was another one."""
    monkeypatch.setattr(captionwork, "CAPTION_BATCH_SIZE", 2)
    source, results = tiny_pictures(tmp_path / "source", 7), []
    for name, stops in (("whole", (99,)), ("stopped", (stop, 99))):
        collect([str(source)], tmp_path / name)
        for at in stops:
            monkeypatch.setattr(captionwork, "load_captioner", lambda *_, at=at: Stubborn(at))
            with contextlib.suppress(KeyboardInterrupt):
                result, notices = run(Dataset(tmp_path / name))
        results.append((captions(Dataset(tmp_path / name)), result.summary, [one.message for one in notices]))
    assert results[0] == results[1]
    assert not list((tmp_path / "stopped").glob(".captions-*"))


def test_dry_run_counts_and_writes_nothing(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    before = {p: p.stat().st_mtime_ns for p in dataset.root.rglob("*")}
    result, _ = run(dataset, dry_run=True)
    assert result.summary == "6 of 6 pictures to caption"
    assert {p: p.stat().st_mtime_ns for p in dataset.root.rglob("*")} == before


def test_prune_takes_lines_without_a_picture_out(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    (dataset.root / "images" / "000002.png").unlink()
    script(GOOD[:5])
    with pytest.raises(DatasetError, match="--prune"):
        run(dataset)
    result, _ = run(dataset, prune=True, dry_run=True)
    assert "5 of 5 pictures to caption, 1 line without a picture taken out" in result.summary
    assert len(dataset.read_metadata()) == 6
    text = dataset.metadata_csv.read_text()
    result, _ = run(dataset, prune=True)
    assert (result.pruned, result.pictures, result.generated) == (1, 5, 0)
    assert (dataset.root / "metadata.csv.before").read_text() == text
    assert run(dataset)[0].generated == 5


def test_prune_keeps_names_that_are_only_spelled_otherwise(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    lines = [f"IMAGES/{name[7:].upper()},words of {name}" for name in dataset.picture_names()]
    dataset.metadata_csv.write_text("file_name,caption\n" + "\n".join(lines) + "\n")
    before = dataset.metadata_csv.read_text()
    result, _ = run(dataset, prune=True)
    assert (result.pruned, result.by_person) == (0, 6)
    assert dataset.metadata_csv.read_text() == before


def test_prune_never_takes_out_every_line(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    dataset.metadata_csv.write_text("file_name,caption\nold/1.png,words\nold/2.png,words\n")
    before = dataset.metadata_csv.read_text()
    with pytest.raises(DatasetError, match="none of the 2 lines names a picture"):
        run(dataset, prune=True)
    assert dataset.metadata_csv.read_text() == before


def test_what_is_edited_while_the_model_works_is_kept(
    dataset: Dataset, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = script(GOOD)
    describe = captioner.describe

    def edited(pictures: Any, decoding: Any) -> Any:
        rows = dataset.read_metadata()
        dataset.write_metadata([Item(rows[0].file_name, "by hand"), *rows[1:]])
        (dataset.root / rows[1].file_name).unlink()
        return describe(pictures, decoding)

    monkeypatch.setattr(captioner, "describe", edited)
    _, notices = run(dataset)
    assert [item.caption for item in dataset.read_metadata()] == ["by hand", *GOOD[1:]]
    assert "1 caption edited meanwhile" in next(n.message for n in notices if n.code == "caption-edited")


def test_a_users_own_columns_and_types_survive(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    lines = [
        f'{{"score": 1.50, "text": null, "file_name": "{name}", "n": null, "tags": ["a", {{"b": 1}}]}}\n'
        for name in dataset.picture_names()
    ]
    dataset.metadata_csv.unlink()
    dataset.metadata_jsonl.write_text("".join(lines))
    script(GOOD)
    run(dataset)
    expected = [line.replace("null", json.dumps(words), 1) for line, words in zip(lines, GOOD, strict=True)]
    assert dataset.metadata_jsonl.read_text() == "".join(expected)


def test_two_commands_do_not_work_on_one_data_set(
    dataset: Dataset, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = script(GOOD)
    describe, refused = captioner.describe, []

    def meanwhile(pictures: Any, decoding: Any) -> Any:
        for other in (
            lambda: run(dataset),
            lambda: check(dataset.root),
            lambda: collect(["pocket"], dataset.root),
        ):
            thread = threading.Thread(target=lambda other=other: refused.append(_error_of(other)))
            thread.start()
            thread.join()
        return describe(pictures, decoding)

    monkeypatch.setattr(captioner, "describe", meanwhile)
    run(dataset)
    assert ["another veneer works on this data set" in str(error) for error in refused] == [True] * 3
    assert captions(dataset) == GOOD


def _error_of(work: Callable[[], object]) -> Any:
    with pytest.raises(DatasetError) as error:
        work()
    return error.value


def test_names_serve_as_captions(dataset: Dataset) -> None:
    source = dataset.root.parent / "source"
    for old, new in (("picture-000", "red_house-1"), ("picture-001", "IMG_0001")):
        (source / f"{old}.png").rename(source / f"{new}.png")
    collect([str(source)], dataset.root.parent / "named")
    named = Dataset(dataset.root.parent / "named")
    result, _ = run(named, table={"model": "none", "trigger": "vnr"})
    assert "vnr, red house" in captions(named)
    assert result.generated == 6


def test_an_unreadable_picture_is_told_and_the_others_captioned(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    (dataset.root / "images" / "000003.png").write_bytes(b"broken")
    script(GOOD)
    _, notices = run(dataset)
    assert captions(dataset)[2] == ""
    assert [c for c in captions(dataset) if c] == GOOD[:5]
    assert "images/000003.png" in next(n.message for n in notices if n.code == "picture-unreadable")


def test_low_agreement_is_flagged_by_an_embedder(tmp_path: Path) -> None:
    from veneer.captions.agreement import low_agreement

    class Fake:
        def image_features(self, pictures: list[Path]) -> np.ndarray:
            return np.eye(len(pictures))

        def text_features(self, texts: list[str]) -> np.ndarray:
            rows = np.eye(len(texts))
            rows[3] = 0.5
            rows[3, 3] = 0.1
            return rows

    folder = tiny_pictures(tmp_path / "p", 12)
    pairs = [(path.name, "x") for path in sorted(folder.iterdir())]
    fake: Any = Fake()
    assert low_agreement(fake, folder, pairs) == {"picture-003.png"}
    assert low_agreement(fake, folder, pairs[:6]) == frozenset()


@pytest.mark.parametrize("kind", ["llava", "blip-2", "florence2", "qwen2_vl"])
def test_other_captioners_describe_through_image_text_to_text(
    dataset: Dataset, tmp_path: Path, kind: str
) -> None:
    folder = captioners.tiny(kind, tmp_path / kind)
    result, _ = run(dataset, table={"model": str(folder)})
    assert result.generated == 6
    texts = captions(dataset)
    assert all(texts)
    assert not any("Describe this" in text or "<" in text for text in texts)  # the question is no answer
    pictures = [load_picture(dataset.root / name) for name in dataset.picture_names()[:3]]
    captioner = load_captioner(str(folder))
    assert captioner.kind == kind
    assert captioner.describe(pictures) == [captioner.describe([picture])[0] for picture in pictures]


@pytest.mark.parametrize("name", ["nowhere/at-all", "clip"])
def test_a_captioner_that_cannot_be_loaded_is_told(dataset: Dataset, clip_folder: Path, name: str) -> None:
    with pytest.raises(CaptionerError, match="cannot be loaded"):
        run(dataset, table={"model": str(clip_folder) if name == "clip" else name})


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        caption(tmp_path)


def test_the_command_replaces_words_and_looks_at_agreement(
    dataset: Dataset, blip_folder: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["caption", str(dataset.root), "--model", str(blip_folder), "--embedder", str(clip_folder)]
    assert exit_status([*arguments, "--replace", "a=one", "--replace", "the=", "--trigger", "vnr"]) == 0
    assert "6 of 6 pictures captioned" in capsys.readouterr().out
    assert all(text.startswith("vnr") and " a " not in text for text in captions(dataset))
    assert exit_status([*arguments, "--replace", "a"]) == 2
    assert "write OLD=NEW" in capsys.readouterr().err
