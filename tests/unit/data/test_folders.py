import os
from pathlib import Path
from typing import Any

import pytest

from veneer.data import folders
from veneer.data.folders import list_folder
from veneer.data.sidecars import is_caption_name
from veneer.data.sources import is_picture_name

KINDS = (is_picture_name, is_caption_name)


@pytest.fixture
def root(tmp_path: Path) -> Any:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "a.txt"):
        (root / name).write_text("x")
    (tmp_path / "secret").write_text("key")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "c.png").write_text("x")
    return root


def test_links_are_followed_within_the_folder_and_to_their_own_kind(root: Path, tmp_path: Path) -> None:
    (root / "in.png").symlink_to("sub/b.png")
    (root / "in.txt").symlink_to("a.txt")
    (root / "wrong.png").symlink_to("a.txt")
    (root / "wrong.txt").symlink_to("a.png")
    (root / "key.png").symlink_to(tmp_path / "secret")
    (root / "key.txt").symlink_to(tmp_path / "secret")
    (root / "passwd.png").symlink_to("/etc/passwd")
    (root / "ssh").symlink_to(tmp_path / "outside")
    (root / "nothing.png").symlink_to("nowhere.png")
    (root / "circle.png").symlink_to("circle.png")
    (root / "readme").symlink_to(tmp_path / "secret")
    listing = list_folder(root, KINDS)
    assert listing.files == ["a.png", "a.txt", "in.png", "in.txt", "sub/b.png"]
    assert listing.passed_over == {
        folders.LEADS_OUT: ["ssh/", "key.png", "key.txt", "passwd.png"],
        folders.OTHER_KIND: ["wrong.png", "wrong.txt"],
        folders.BROKEN: ["circle.png", "nothing.png"],
    }
    messages = [notice.message for notice in listing.notices("collect", "root")]
    assert "4 entries of root passed over, a link that leads out" in messages[0]


def test_with_the_flag_links_are_followed_once(root: Path, tmp_path: Path) -> None:
    (root / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(root)
    (root / "key.png").symlink_to(tmp_path / "outside" / "c.png")
    listing = list_folder(root, KINDS, follow_links=True)
    assert listing.files == ["a.png", "a.txt", "key.png", "out/c.png", "sub/b.png"]


@pytest.mark.parametrize("name", ["pipe.png", "pipe.txt"])
def test_a_pipe_is_told_and_never_opened(root: Path, name: str) -> None:
    os.mkfifo(root / name)
    assert list_folder(root, KINDS).passed_over == {folders.NO_FILE: [name]}


def test_a_folder_that_may_not_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refused(place: Any) -> Any:
        if str(place).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    assert list_folder(root, KINDS).passed_over == {folders.UNREADABLE: ["sub/"]}


def test_names_of_any_bytes_are_listed(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.png")).write_text("x")
    assert os.fsdecode(b"caf\xe9.png") in list_folder(root, KINDS).files
