import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from veneer.captions.records import (
    BEGUN,
    CaptionRecord,
    append_journal,
    caption_from_name,
    plan_item,
    read_records,
    write_records,
    written_caption,
)
from veneer.config import CaptionTable
from veneer.errors import RunError
from veneer.records.dataset import Dataset, Item

TABLE = CaptionTable(
    model="m", prefix="drawing of", trigger="vnr", replacements={"cartoon": "", "a Car": "a vehicle"}
)
MADE = CaptionRecord("x.png", "model", "a red car", "vnr, drawing of a red car", model="m", trigger="vnr")


def plan(caption: str, record: Any, table: CaptionTable = TABLE, overwrite: bool = False) -> Any:
    return plan_item(Item("x.png", caption), record, table, overwrite=overwrite)


def test_templates_are_put_together() -> None:
    assert (
        written_caption("a cartoon house beside a car", TABLE) == "vnr, drawing of a house beside a vehicle"
    )
    assert written_caption("cartoonish", TABLE) == "vnr, drawing of cartoonish"
    assert written_caption("a dog", CaptionTable()) == "a dog"


def test_the_second_attempt_counts_whichever_process_made_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    dataset = Dataset(tmp_path)
    write_records(dataset, [replace(MADE, text="of an earlier command", attempts=2)])
    append_journal(dataset, 0, [replace(MADE, text="again", attempts=2)])
    append_journal(dataset, 1, [replace(MADE, text="first", attempts=1)])
    assert read_records(dataset)["x.png"].text == "again"
    write_records(dataset, [replace(MADE, text="of an earlier command", attempts=2)])
    append_journal(dataset, 0, [replace(MADE, text="anew", attempts=1)])
    assert read_records(dataset)["x.png"].text == "anew"


def test_a_picture_without_a_caption_is_generated() -> None:
    assert plan("", None) is None


def test_a_caption_that_was_there_is_a_persons_and_gets_only_the_trigger() -> None:
    record = plan("my own words", None)
    assert (record.by, record.edited, record.caption) == ("person", False, "vnr, my own words")
    assert plan("vnr, my own words", record) == record
    assert plan("vnr, my own words", record, overwrite=True) == record


def test_a_generated_caption_stays_unless_asked_or_made_by_another_model() -> None:
    assert plan(MADE.caption, MADE) == MADE
    assert plan(MADE.caption, MADE, overwrite=True) is None
    assert plan(MADE.caption, MADE, CaptionTable(model="other")) is None


def test_another_prefix_is_put_without_asking_the_model_again() -> None:
    record = plan(MADE.caption, MADE, CaptionTable(model="m", prefix="painting of"))
    assert record.caption == "painting of a red car"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("model", ["m", "other"])
def test_an_edited_caption_is_kept_and_marked(overwrite: bool, model: str) -> None:
    table = CaptionTable(model=model, trigger="new")
    record = plan("vnr, drawing of a RED car", MADE, table, overwrite)
    assert (record.by, record.edited) == ("person", True)
    assert record.caption == "new, drawing of a RED car"
    again = plan(record.caption, record, table, overwrite)
    assert again == record


def test_a_journal_without_metadata_is_taken_up() -> None:
    assert plan("", MADE) == MADE


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("red_house-03.png", "red house"),
        ("IMG_2041.jpg", ""),
        ("10_night city/DSC00012.JPG", "night city"),
        ("CamelCaseName.png", "camel case name"),
        ("замок.png", "замок"),
        ("images/000001.png", "images"),
    ],
)
def test_names_become_captions(name: str, caption: str) -> None:
    assert caption_from_name(name) == caption


@pytest.mark.parametrize("name", ["captions.jsonl", BEGUN, ".captions-0.jsonl"])
@pytest.mark.parametrize(
    "fault", [{"by": None}, {"by": "a stranger"}, {"faults": None}, {"faults": 3}, {"attempts": "x"}]
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, name: str, fault: dict[str, object]) -> None:
    whole = {"file_name": "images/1.png", "by": "model", "text": "a", "caption": "a"}
    (tmp_path / name).write_text(json.dumps(whole | fault) + "\n")
    with pytest.raises(RunError, match=rf"{re.escape(name)} is damaged: {next(iter(fault))}"):
        read_records(Dataset(tmp_path), {"images/1.png": "a"})
    (tmp_path / name).write_text(json.dumps(whole | {"of a later version": 1}) + "\n")
    read_records(Dataset(tmp_path), {"images/1.png": "a"})


def test_a_line_without_a_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").write_text('{"file_name": "images/1.png"}\n')
    with pytest.raises(RunError, match=r"captions\.jsonl is damaged: by: Field required"):
        read_records(Dataset(tmp_path))
