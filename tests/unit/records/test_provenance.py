from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from veneer.records.dataset import Dataset
from veneer.records.provenance import PictureOrigin, add_provenance, read_provenance


def test_facts_stand_in_the_line_in_their_order(tmp_path: Path) -> None:
    for facts in ({"name": "a", "extra": {"n": 1}}, {"extra": {"n": 1}, "name": "a"}):
        add_provenance(Dataset(tmp_path), PictureOrigin(file_name="1.png", origin="o", facts=facts, time="t"))
    lines = Dataset(tmp_path).provenance_jsonl.read_text().splitlines()
    assert [list(json.loads(line))[:5] for line in lines] == [
        ["file_name", "origin", "name", "extra", "time"],
        ["file_name", "origin", "extra", "name", "time"],
    ]
    assert [list(one.facts) for one in read_provenance(Dataset(tmp_path))] == [
        ["name", "extra"],
        ["extra", "name"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"size": [1]},
        {"size": "1x2"},
        {"size": [1, None], "changes": 3},
        {"original_size": {}, "changes": ""},
    ],
)
def test_what_is_not_as_ours_are_is_not_known(tmp_path: Path, line: dict[str, Any]) -> None:
    Dataset(tmp_path).provenance_jsonl.write_text(json.dumps(line) + "\n")
    (one,) = read_provenance(Dataset(tmp_path))
    assert one == PictureOrigin()
    assert one.told("name") == ""


def test_nothing_is_known_without_the_file(tmp_path: Path) -> None:
    assert list(read_provenance(Dataset(tmp_path))) == []
