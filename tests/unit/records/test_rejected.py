"""``rejected/reasons.jsonl``: one reader and writer for both stages that leave pictures out."""

from pathlib import Path

import pytest

from veneer.errors import DatasetError
from veneer.records.dataset import Dataset
from veneer.records.rejected import (
    Rejected,
    add_rejected,
    mend_rejected,
    read_rejected,
    rejected_by_line,
    write_rejected,
)

LINES = """\
{"file": "rejected/bad.png", "origin": "/bad.png", "stage": "collect", "reason": "no picture", "time": "t"}
{"file": "rejected/a.png", "origin": "images/a.png", "stage": "check", "reason": "blurred", \
"flags": ["blur"], "file_name": "images/a.png", "caption": "a cat", "extra": {}, "stamp": "3-4"}
{"stage": "collect", "note": 7}
"""
"""As 0.1.0 wrote them, and one of another tool's."""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    dataset.rejected.mkdir()
    dataset.reasons_jsonl.write_text(LINES)
    return dataset


def test_lines_are_written_as_they_were_read(dataset: Dataset) -> None:
    entries = list(read_rejected(dataset))
    assert [(one.name, one.told("caption")) for one in entries] == [
        ("bad.png", ""),
        ("images/a.png", "a cat"),
        ("", ""),
    ]
    write_rejected(dataset, entries)
    assert dataset.reasons_jsonl.read_text() == LINES
    add_rejected(dataset, entries[:1])
    assert dataset.reasons_jsonl.read_text() == LINES + LINES.splitlines(keepends=True)[0]


def test_a_fact_never_stands_for_what_is_ours() -> None:
    one = Rejected.of_line({"reason": 3, "facts": "x", "file": None})
    assert (one.reason, one.facts) == ("3", {"facts": "x"})


def test_a_damaged_line_takes_no_other_with_it(dataset: Dataset) -> None:
    dataset.reasons_jsonl.write_text(LINES + "\n[1]\n" + "[" * 100_000 + "\n" + LINES)
    found = list(rejected_by_line(dataset))
    assert [number for number, one in found if one is None] == [3, 4, 5, 8]
    with pytest.raises(DatasetError, match="not a JSON object"):
        list(read_rejected(dataset))


def test_a_torn_last_line_is_cut_off(dataset: Dataset) -> None:
    dataset.reasons_jsonl.write_text(LINES + '{"file": "rej')
    assert len(list(read_rejected(dataset))) == 3
    mend_rejected(dataset)
    assert dataset.reasons_jsonl.read_text() == LINES


def test_nothing_is_left_out_without_the_file(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    assert list(read_rejected(dataset)) == []
    assert list(rejected_by_line(dataset)) == []
