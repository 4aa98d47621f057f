import json
import os
from pathlib import Path

import pytest

from veneer.errors import DatasetError
from veneer.records.dataset import Dataset, Item
from veneer.text import read_text_any


@pytest.fixture
def folder(tmp_path: Path) -> Dataset:
    for name in ("images/a.png", "images/b.jpg", "rejected/c.png", "images/.hidden.png", "images/a.mask.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return Dataset(tmp_path)


def test_pictures_are_found_without_rejected_hidden_and_masks(folder: Dataset) -> None:
    assert folder.picture_names() == ["images/a.png", "images/b.jpg"]


def test_metadata_survives_writing_with_extra_columns_and_any_script(folder: Dataset) -> None:
    items = [
        Item("images/a.png", 'a "red", round\u2019 яблоко', {"licence": "CC0"}),
        Item("images/b.jpg", "b"),
    ]
    folder.write_metadata(items)
    assert folder.read_metadata()[0] == items[0]
    assert folder.read_metadata()[1].caption == "b"


def test_jsonl_is_read_where_there_is_no_csv(folder: Dataset) -> None:
    lines = [{"file_name": "images/a.png", "text": "from jsonl"}]
    folder.metadata_jsonl.write_text("\n".join(map(json.dumps, lines)))
    assert folder.items()[0].caption == "from jsonl"


def test_names_without_a_picture_are_listed(folder: Dataset) -> None:
    folder.write_metadata([Item(f"images/gone-{i}.png", "x") for i in range(12)])
    with pytest.raises(DatasetError, match=r"names 12 pictures that do not exist: .* and 2 more"):
        folder.items()


def test_of_each_kind_of_mismatch_the_first_ten_are_listed_with_the_command(folder: Dataset) -> None:
    for i in range(12):
        (folder.root / "images" / f"new-{i:02}.png").write_bytes(b"x")
    folder.write_metadata([Item("images/a.png", "a"), *(Item(f"images/gone-{i:02}.png") for i in range(11))])
    with pytest.raises(DatasetError) as error:
        folder.items()
    told = str(error.value)
    assert "names 11 pictures that do not exist: images/gone-00.png" in told
    assert "images/gone-09.png and 1 more; 13 pictures not named: images/b.jpg" in told
    assert "images/new-08.png and 3 more" in told
    assert f"`veneer caption {folder.root} --prune`" in told
    assert len(folder.items(ignore_missing=True)) == 14


def test_pictures_without_a_caption_are_listed(folder: Dataset) -> None:
    folder.write_metadata([Item("images/a.png", "  ")])
    with pytest.raises(DatasetError, match=r"2 of 2 pictures have no caption: images/a\.png, images/b\.jpg"):
        folder.captioned_items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,caption\nimages/a.png,x\nimages/a.png,y\n", r"named twice.*metadata\.csv:3"),
        ("name,caption\nimages/a.png,x\n", r"no file_name.*metadata\.csv:2"),
    ],
)
def test_broken_metadata_is_named_with_its_line(folder: Dataset, text: str, message: str) -> None:
    folder.metadata_csv.write_text(text)
    with pytest.raises(DatasetError, match=message):
        folder.items()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such data set"):
        Dataset(tmp_path / "none").items()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_in_other_encodings_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("file_name,caption\nimages/a.png,café\n".encode(encoding))
    assert "café" in read_text_any(path)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("一座红色的房子", "gb18030"),
        ("赤い家の絵", "shift_jis"),
        ("красный дом", "cp1251"),
        ("ένα κόκκινο σπίτι", "cp1253"),
        ("빨간 집 그림", "euc-kr"),
    ],
)
def test_old_encodings_of_other_scripts_are_refused_not_garbled(
    folder: Dataset, text: str, encoding: str
) -> None:
    folder.metadata_csv.write_bytes(f"file_name,caption\nimages/a.png,{text}\n".encode(encoding))
    with pytest.raises(DatasetError, match=r"neither UTF-8.*metadata\.csv.*iconv"):
        folder.items()
    folder.metadata_csv.write_bytes(f"file_name,caption\nimages/a.png,{text}\n".encode())
    assert folder.items()[0].caption == text


@pytest.mark.parametrize(
    "text", ["Fußgängerübergänge", "une forêt très verte", "São João", "naïveté — “ça va”"]
)
def test_western_text_of_windows_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_bytes(text.encode("cp1252"))
    assert read_text_any(tmp_path / "t.txt") == text


def test_windows_separators_are_understood(folder: Dataset) -> None:
    folder.metadata_csv.write_text("file_name,caption\n.\\images\\a.png,x\n")
    assert folder.items()[0].caption == "x"


def test_hugging_face_reads_the_folder_as_it_is(tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    (tmp_path / "images").mkdir()
    for name in ("1", "2"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / f"{name}.png")
    Dataset(tmp_path).write_metadata([Item("images/1.png", "one"), Item("images/2.png", "two")])
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path), split="train", cache_dir=str(tmp_path / ".hf")
    )
    assert sorted(loaded["caption"]) == ["one", "two"]
    assert loaded[0]["image"].size == (8, 8)


def test_a_caption_that_somebody_changed_meanwhile_stays(folder: Dataset) -> None:
    folder.metadata_csv.write_text("file_name,caption\nimages/a.png,old\nimages/b.jpg,old\n")
    before = {item.file_name: item.caption for item in folder.items()}
    folder.metadata_csv.write_text("file_name,caption,note\nimages/a.png,by hand,x\nimages/b.jpg,old,y\n")
    assert folder.write_captions(dict.fromkeys(before, "ours"), before) == {"images/a.png"}
    expected = "file_name,caption,note\nimages/a.png,by hand,x\nimages/b.jpg,ours,y\n"
    assert folder.metadata_csv.read_text() == expected


def test_a_picture_that_is_gone_meanwhile_gets_no_line(folder: Dataset) -> None:
    folder.write_captions({"images/a.png": "x", "images/gone.png": "y"}, {})
    assert [item.file_name for item in folder.read_metadata()] == ["images/a.png"]


def test_a_line_that_was_spelled_otherwise_stays_as_it_is(folder: Dataset) -> None:
    folder.metadata_jsonl.write_text('{"file_name": "IMAGES/a.PNG", "text": "x"}\n')
    folder.write_captions({"images/a.png": "y", "images/b.jpg": "z"}, {"images/a.png": "x"})
    assert [item.caption for item in folder.items()] == ["y", "z"]
    assert folder.metadata_jsonl.read_text().splitlines()[0] == '{"file_name": "IMAGES/a.PNG", "text": "y"}'


def test_names_that_no_metadata_can_hold_are_told(folder: Dataset) -> None:
    (folder.images / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    assert folder.odd_names() == ["images/caf\\udce9.png"]
    assert len(folder.items()) == 2


def test_lines_go_and_a_copy_of_the_file_stays(folder: Dataset) -> None:
    text = "file_name;text\nimages/a.png;x\ngone.png;y\n"
    folder.metadata_csv.write_text(text)
    for _ in range(2):
        folder.remove_items(["gone.png"], copy=True)
    assert folder.metadata_csv.read_text() == "file_name;text\nimages/a.png;x\n"
    assert [path.read_text() for path in folder.root.glob("*.before")] == [text]
