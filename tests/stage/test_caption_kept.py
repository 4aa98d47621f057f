"""What a person wrote stays, whatever the stage does, and wherever it is stopped."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.captioning import GOOD, Scripted, caption_set, captions
from helpers.tiny import tiny_pictures
from veneer.captions import captioning as captionwork
from veneer.captions import describing
from veneer.captions.captioner import AGAIN, FIRST, Decoding
from veneer.config import CaptionTable
from veneer.errors import DatasetError
from veneer.records.dataset import Dataset, Item
from veneer.stages.caption import caption_again
from veneer.stages.check import check
from veneer.stages.collect import collect


def test_edited_and_given_captions_are_never_written_over(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    items = dataset.items()
    dataset.write_metadata([Item(items[0].file_name, "my own words", {"licence": "CC0"}), *items[1:]])
    captioner = script(GOOD)
    caption_set(dataset)
    assert captioner.asked == [(5, FIRST)]
    edited = [Item(i.file_name, "edited") if n == 3 else i for n, i in enumerate(dataset.items())]
    dataset.write_metadata(edited)
    for overwrite in (False, True):
        script(["other words", "one", "two", "three", "four"])
        result, _ = caption_set(dataset, overwrite=overwrite)
        assert (result.by_person, result.edited) == (2, 1)
        assert captions(dataset)[0] == "my own words"
        assert captions(dataset)[3] == "edited"
    assert captions(dataset)[1] == "other words"
    assert dataset.items()[0].extra == {"licence": "CC0"}
    records = [json.loads(line) for line in (dataset.root / "captions.jsonl").read_text().splitlines()]
    assert [number for number, record in enumerate(records) if record["by"] == "person"] == [0, 3]
    assert [record["edited"] for record in records] == [False] * 3 + [True] + [False] * 2


def test_text_files_beside_pictures_are_a_persons_captions(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    (dataset.root / "images" / "000002.txt").write_bytes("ein schönes\r\nHaus".encode("cp1252"))
    captioner = script(GOOD)
    result, notices = caption_set(dataset)
    assert captioner.asked == [(5, FIRST)]
    assert captions(dataset)[1] == "ein schönes Haus"
    assert result.by_person == 1
    assert "images/000002.png" in next(n.message for n in notices if n.code == "caption-from-text")


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
        caption_set(dataset)
    assert captions(dataset) == [""] * 6
    captioner = script(GOOD[4:])
    result, _ = caption_set(dataset)
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


@pytest.mark.parametrize("stop", [1, 4, *(pytest.param(n, marks=pytest.mark.heavy) for n in (0, 2, 3, 5))])
def test_captions_are_the_same_wherever_the_command_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Those of before a stop were not looked at: their faults stayed, and the last batch was another one."""
    monkeypatch.setattr(captionwork, "CAPTION_BATCH_SIZE", 2)
    source, results = tiny_pictures(tmp_path / "source", 7), []
    for name, stops in (("whole", (99,)), ("stopped", (stop, 99))):
        collect([str(source)], tmp_path / name)
        for at in stops:
            monkeypatch.setattr(describing, "load_captioner", lambda *_, at=at: Stubborn(at))
            with contextlib.suppress(KeyboardInterrupt):
                result, notices = caption_set(Dataset(tmp_path / name))
        results.append((captions(Dataset(tmp_path / name)), result.summary, [one.message for one in notices]))
    assert results[0] == results[1]
    assert not list((tmp_path / "stopped").glob(".captions-*"))


def test_dry_run_counts_and_writes_nothing(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    before = {p: p.stat().st_mtime_ns for p in dataset.root.rglob("*")}
    result, _ = caption_set(dataset, dry_run=True)
    assert result.summary == "6 of 6 pictures to caption"
    assert {p: p.stat().st_mtime_ns for p in dataset.root.rglob("*")} == before


def test_prune_takes_lines_without_a_picture_out(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    (dataset.root / "images" / "000002.png").unlink()
    script(GOOD[:5])
    with pytest.raises(DatasetError, match="--prune"):
        caption_set(dataset)
    result, _ = caption_set(dataset, prune=True, dry_run=True)
    assert "5 of 5 pictures to caption, 1 line without a picture taken out" in result.summary
    assert len(dataset.read_metadata()) == 6
    text = dataset.metadata_csv.read_text()
    result, _ = caption_set(dataset, prune=True)
    assert (result.pruned, result.pictures, result.generated) == (1, 5, 0)
    assert (dataset.root / "metadata.csv.before").read_text() == text
    assert caption_set(dataset)[0].generated == 5


def test_prune_keeps_names_that_are_only_spelled_otherwise(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    lines = [f"IMAGES/{name[7:].upper()},words of {name}" for name in dataset.picture_names()]
    dataset.metadata_csv.write_text("file_name,caption\n" + "\n".join(lines) + "\n")
    before = dataset.metadata_csv.read_text()
    result, _ = caption_set(dataset, prune=True)
    assert (result.pruned, result.by_person) == (0, 6)
    assert dataset.metadata_csv.read_text() == before


def test_prune_never_takes_out_every_line(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    dataset.metadata_csv.write_text("file_name,caption\nold/1.png,words\nold/2.png,words\n")
    before = dataset.metadata_csv.read_text()
    with pytest.raises(DatasetError, match="none of the 2 lines names a picture"):
        caption_set(dataset, prune=True)
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
    _, notices = caption_set(dataset)
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
    caption_set(dataset)
    expected = [line.replace("null", json.dumps(words), 1) for line, words in zip(lines, GOOD, strict=True)]
    assert dataset.metadata_jsonl.read_text() == "".join(expected)


def test_two_commands_do_not_work_on_one_data_set(
    dataset: Dataset, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = script(GOOD)
    describe, refused = captioner.describe, []

    def meanwhile(pictures: Any, decoding: Any) -> Any:
        for other in (
            lambda: caption_set(dataset),
            lambda: check(dataset.root),
            lambda: collect(["pocket"], dataset.root),
        ):
            thread = threading.Thread(target=lambda other=other: refused.append(_error_of(other)))
            thread.start()
            thread.join()
        return describe(pictures, decoding)

    monkeypatch.setattr(captioner, "describe", meanwhile)
    caption_set(dataset)
    assert ["another veneer works on this data set" in str(error) for error in refused] == [True] * 3
    assert captions(dataset) == GOOD


def _error_of(work: Callable[[], object]) -> Any:
    with pytest.raises(DatasetError) as error:
        work()
    return error.value


@pytest.mark.parametrize("model", ["none", "scripted"])
def test_no_kill_makes_a_persons_words_of_what_was_generated(
    dataset: Dataset, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    script(GOOD)
    for prefix in ("a drawing of", "a picture of"):  # the second time only the prefix is another
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("veneer.stages.caption.write_records", interrupt)
            caption_set(dataset, table={"model": model, "prefix": prefix})
        assert captions(dataset)[0].startswith(prefix)
        result, _ = caption_set(dataset, table={"model": model, "prefix": prefix})
        assert (result.by_person, result.edited) == (0, 0)
        assert not list(dataset.root.glob(".captions*"))


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


class Dying:
    """A captioner that sees what stands in the metadata, says a batch, and ends the process at the next."""

    def __init__(self, dataset: Dataset, before: list[str]) -> None:
        self.dataset, self.before, self.said = dataset, before, False

    def describe(self, pictures: list[Path], decoding: Decoding) -> list[str]:
        if self.said or captions(self.dataset) != self.before:
            os.kill(os.getpid(), signal.SIGKILL)
        self.said = True
        return [f"a new text {number}" for number in range(len(pictures))]


def test_captions_asked_for_again_stand_until_the_new_ones_are_there(
    dataset: Dataset, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were blanked first: a kill while the model worked left none."""
    items = dataset.items()
    dataset.write_metadata([Item(items[0].file_name, "my own words"), *items[1:]])
    script(GOOD)
    caption_set(dataset)
    before, records = captions(dataset), (dataset.root / "captions.jsonl").read_bytes()
    names = [item.file_name for item in items[:4]]
    table = CaptionTable(model="m")
    monkeypatch.setattr(captionwork, "CAPTION_BATCH_SIZE", 2)
    monkeypatch.setattr(describing, "load_captioner", lambda *_: Dying(dataset, before))
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            caption_again(dataset.root, names, table)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert captions(dataset) == before
    script(["nothing is asked"])
    caption_set(dataset)  # what was said is no edit of what stands
    assert captions(dataset) == before
    assert (dataset.root / "captions.jsonl").read_bytes() == records
    script(["one", "two", "three", "four"])
    caption_again(dataset.root, names, table)
    assert captions(dataset) == ["one", "two", "three", "four", *before[4:]]
