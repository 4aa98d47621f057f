import json
import os
from pathlib import Path
from typing import Any

import pytest

from veneer.data.folders import list_folder
from veneer.data.sidecars import FolderCaptions, is_caption_name
from veneer.data.sources import is_picture_name
from veneer.errors import DatasetError


def read(root: Path, **files: Any) -> Any:
    """Captions of a folder with pictures p0.png and sub/p1.png, and the notices by code."""
    for name in ("p0.png", "sub/p1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    listing = list_folder(root, (is_picture_name, is_caption_name))
    pictures = [name for name in listing.files if is_picture_name(name)]
    captions = FolderCaptions(root, listing.files, pictures)
    notices = {notice.code: notice.message for notice in captions.notices("collect", "root")}
    return {name: item.caption for name, item in captions.items.items()}, notices


@pytest.mark.parametrize("name", ["p0.txt", "p0.TXT", "p0.Caption", "p0.png.txt", "p0.png.TXT"])
def test_a_text_file_is_read_whatever_its_case(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, **{name: "words"}) == ({"p0.png": "words"}, {})


def test_metadata_above_the_pictures_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "train/images").mkdir(parents=True)
    (tmp_path / "train/images/p.png").write_text("x")
    captions, notices = read(
        tmp_path,
        **{
            "train/metadata.jsonl": json.dumps({"file_name": "images/p.png", "text": "words"}),
            "sub/metadata.csv": "file_name,text\np1.png,near\n",
            "metadata.csv": "file_name,text\nsub/p1.png,above\n",
        },
    )
    assert captions == {"train/images/p.png": "words", "sub/p1.png": "near"}
    assert notices == {}


@pytest.mark.parametrize("name", ["P0.PNG", "{folder}/p0.png", "{path}/p0.png", "./p0.png", ".\\P0.png"])
def test_names_that_are_spelled_otherwise_are_taken_and_told(tmp_path: Path, name: str) -> None:
    name = name.format(folder=tmp_path.name, path=tmp_path)
    captions, notices = read(tmp_path, **{"metadata.csv": f"file_name,text\n{name},words\n"})
    assert captions["p0.png"] == "words"
    assert ("names-differ" in notices) == (name != "./p0.png")


def test_two_pictures_that_differ_in_case_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "P0.png").write_text("x")
    with pytest.raises(DatasetError, match=r"only the case differs: p0\.PNG for P0\.png or p0\.png"):
        read(tmp_path, **{"metadata.csv": "file_name,text\np0.PNG,words\n"})


@pytest.mark.parametrize(
    "name",
    [
        "captions/p0.txt",
        "p0.json",
        "p0.png.json",
        "captions.csv",
        "p0.tags",
        "metadata.parquet",
        "labels.json",
    ],
)
def test_what_looks_like_captions_and_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    captions, notices = read(tmp_path, **{name: "words"})
    assert captions == {}
    assert name in notices["captions-not-read"]


@pytest.mark.parametrize("name", ["README.txt", "LICENSE.txt", "provenance.jsonl", "notes.json"])
def test_other_files_are_not_taken_for_captions(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, **{name: "words"}) == ({}, {})


def test_columns_none_of_which_is_a_caption_are_named(tmp_path: Path) -> None:
    _, notices = read(tmp_path, **{"metadata.csv": "file_name,words\np0.png,house\n"})
    assert "columns found in metadata.csv of root: words; none is read" in notices["no-caption-column"]


def test_several_captions_are_told_and_the_first_stands_for_all(tmp_path: Path) -> None:
    line = json.dumps({"file_name": "p0.png", "text": ["one", "two"]})
    captions, notices = read(tmp_path, **{"metadata.jsonl": line})
    assert captions["p0.png"] == "one"
    assert "1 picture has several captions" in notices["several-captions"]


def test_one_text_that_cannot_be_read_is_one_notice(tmp_path: Path) -> None:
    with (tmp_path / "p0.txt").open("wb") as file:
        os.truncate(file.fileno(), 40 * 2**30)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/p1.caption").write_bytes("一座红色的房子".encode("gb18030"))
    captions, notices = read(tmp_path, **{"sub/p1.png.txt": "words"})
    assert captions == {"sub/p1.png": "words"}
    assert "p0.txt (larger than 1 MiB" in notices["captions-unreadable"]
    assert "sub/p1.caption (neither UTF-8" in notices["captions-unreadable"]


def test_a_link_does_not_make_a_strangers_file_a_caption(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_text("PRIVATE KEY")
    root = tmp_path / "root"
    root.mkdir()
    (root / "p0.txt").symlink_to("../id_rsa")
    (root / "id_ed25519").write_text("PRIVATE KEY")
    (root / "sub").mkdir()
    (root / "sub/p1.txt").symlink_to("../id_ed25519")
    assert read(root)[0] == {}
