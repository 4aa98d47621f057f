import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veneer.errors import DatasetError
from veneer.records.metadata import MetadataRow, captions_in, read_table
from veneer.records.metadata_text import metadata_text

LINE = (
    '{ "file_name":"images/a.png" , "score": 1.50, "big": 12345678901234567890123, "n": null,'
    ' "tags": ["x",  {"y": 1e5}], "text":"old \\u00e9", "deep": {"text": "not this"}, "ok": true }\n'
)


def written(path: Path, change: Callable[[MetadataRow], MetadataRow]) -> Any:
    table = read_table(path)
    return metadata_text(table, [change(row) for row in table.rows])


def test_what_is_not_ours_survives_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text(LINE + '{"file_name": "b.png"}\n')
    assert written(path, lambda row: row) == path.read_text()
    new = written(path, lambda row: row._replace(caption='new "é"'))
    assert (
        new
        == LINE.replace('"old \\u00e9"', '"new \\"é\\""')
        + '{"file_name": "b.png", "caption": "new \\"é\\""}\n'
    )
    for line in new.splitlines():
        json.loads(line)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_keep_their_columns_and_their_form(tmp_path: Path, separator: str, end: str) -> None:
    path = tmp_path / "metadata.csv"
    rows = [
        ["text", "file_name", "n", "n"],
        ['"quoted"', "a.png", "1.50", "2"],
        ["old", "b.png", f'"two{separator}columns"', ""],
        ["", "c.png", "", ""],
    ]
    text = "".join(separator.join(row) + end for row in rows)
    path.write_bytes(text.encode())
    assert written(path, lambda row: row) == text
    new = written(path, lambda row: row._replace(caption="new") if row.name == "b.png" else row)
    assert new == text.replace("old", "new")


def test_lines_are_added_with_values_of_any_type(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,text\na.png,x\n")
    table = read_table(path)
    new = MetadataRow("b.png", "y", ("z",), {"score": 1.5, "tags": ["a"], "text2": None})
    assert metadata_text(table, [*table.rows, new]).splitlines() == [
        "file_name,text,score,tags,text2",
        "a.png,x,,,",
        'b.png,"[""y"", ""z""]",1.5,"[""a""]",',
    ]


@pytest.mark.parametrize("key", ["text", "Text", " TEXT ", "prompt", "caption", "en_caption"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_captions_are_read_from_the_usual_columns(tmp_path: Path, key: str, kind: str) -> None:
    path = tmp_path / f"metadata.{kind}"
    row = {" File_Name ": "a.png", key: "words"}
    path.write_text(json.dumps(row) if kind == "jsonl" else f"{','.join(row)}\n{','.join(row.values())}\n")
    table = read_table(path)
    assert (table.rows[0].name, table.rows[0].caption, table.unread_columns) == ("a.png", "words", [])


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,words,score\na.png,house,1\n")
    assert read_table(path).unread_columns == ["words", "score"]
    path.write_text("name,words\na.png,house\n")
    with pytest.raises(DatasetError, match=r"no file_name; columns found: name, words.*metadata\.csv:2"):
        read_table(path)


def test_commas_that_nobody_quoted_belong_to_the_caption_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,caption\na.png,1girl, solo, red hair\n")
    assert read_table(path).rows[0].caption == "1girl, solo, red hair"
    assert written(path, lambda row: row._replace(caption="x, y")).endswith('a.png,"x, y"\n')
    path.write_text("caption,file_name\n1girl, solo,a.png\n")
    with pytest.raises(DatasetError, match=r"3 values for 2 columns.*metadata\.csv:2"):
        read_table(path)


@pytest.mark.parametrize(
    ("value", "captions"),
    [
        ("a house", ("a house",)),
        (["a house", "a hut"], ("a house", "a hut")),
        ([["a house"], "", None, "a  hut"], ("a hut", "a house")),
        ("['a house', \"it's a hut\"]", ("a house", "it's a hut")),
        ('["a house"]', ("a house",)),
        ("[a house]", ("[a house]",)),
        ("['a', 3]", ("['a', 3]",)),
        ("['" + "[" * 10_000, ("['" + "[" * 10_000,)),
        (None, ()),
        (float("nan"), ()),
        ([], ()),
        (7, ("7",)),
        ("\ud800 x", ("? x",)),
        ({"en": "a house"}, None),
        (True, None),
    ],
)
def test_a_caption_never_has_brackets_of_a_list(value: Any, captions: Any) -> None:
    assert captions_in(value) == captions


def test_of_several_captions_the_first_is_changed_and_none_lost(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.png", "text": ["one", "two"]}\n')
    assert read_table(path).rows[0].caption == "one"
    assert (
        written(path, lambda row: row._replace(caption="new"))
        == '{"file_name": "a.png", "text": ["new", "two"]}\n'
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{"file_name": "b', "not a JSON object.*:2"),
        ("metadata.jsonl", b'{"a":' * 50_000, "nested too deeply.*:1"),
        ("metadata.jsonl", b'[["file_name", "a.png"]]', "not a JSON object: it is a list.*:1"),
        ("metadata.jsonl", b'{"file_name": ' + b"9" * 5000 + b"}", "not a JSON object.*:1"),
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{"file_name": "a.png"}', "named twice.*:2"),
        ("metadata.csv", b'file_name,caption\na.png,x\nb.png,"' + b"x" * 140_000, "quote is not closed.*:3"),
        ("metadata.csv", "file_name\n".encode("utf-16")[:-1], "middle of a character"),
        ("metadata.csv", "file_name,caption\na.png,é\nb.png,é".encode()[:-1], "middle of a character"),
        ("metadata.csv", b"file_name,caption\na.png,\0\n", "not a text"),
        ("metadata.jsonl", random.Random(0).randbytes(64) + b"\0", "not a text|neither UTF-8|middle"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        read_table(tmp_path / name)


def test_lines_end_where_json_says(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.png", "text": "one\u2028two\u0085three"}\n', "utf-8")
    assert read_table(path).rows[0].caption == "one two three"


def test_what_is_named_twice_is_told_first_and_at_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("file_name\na.png\nb.png\nc.png\nc.png\nb.png\nb.png\n")
    with pytest.raises(DatasetError, match=r"c\.png is named twice.*metadata\.csv:5"):
        read_table(path)


def test_further_columns_are_those_that_hold_something_and_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"title": "t", "file_name": "a.png", "text": ["one"], "n": null, "score": 1.5}\n')
    (row,) = read_table(path).rows
    assert (row.caption, row.column, row.extra) == ("one", "text", {"title": "t", "score": 1.5})
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,n,n,caption\na.png,1,2\nb.png,1,2,x\n")
    short, whole = read_table(path).rows
    assert (short.extra, short.cells) == ({"n": "1"}, ("a.png", "1", "2", ""))
    assert (whole.extra, whole.cells) == ({"n": "1"}, ("b.png", "1", "2", "x"))
