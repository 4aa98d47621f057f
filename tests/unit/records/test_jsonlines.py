import json
import os
from pathlib import Path

import pytest

from veneer.errors import DatasetError
from veneer.records.jsonlines import append_lines, drop_torn_line, json_line, read_lines


def test_a_torn_last_line_is_passed_over_and_then_cut(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "h\xc3')
    assert list(read_lines(path)) == [{"a": 1}]
    append_lines(path, [{"c": 3}])
    assert list(read_lines(path)) == [{"a": 1}, {"c": 3}]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}')
    append_lines(path, [{"c": 3}])
    assert list(read_lines(path)) == [{"a": 1}, {"c": 3}]
    drop_torn_line(path)
    assert path.read_text() == '{"a": 1}\n{"c": 3}\n'


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "{", "[]", '"x"', "{}}", '{"a": ' + "9" * 5000 + "}", "\x00"]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"b": 2}}\n')
    with pytest.raises(DatasetError, match=r"not a JSON object.*lines\.jsonl:2"):
        list(read_lines(path))


@pytest.mark.parametrize("text", [os.fsdecode(b"caf\xe9"), "\ud800", "\u2028", "été"])
def test_whatever_the_text_a_line_can_be_written_and_read_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"name": text}, {"name": text}])
    assert [line["name"] for line in read_lines(path)] == [text, text]
    assert json.loads(json_line({"x": text})) == {"x": text}
