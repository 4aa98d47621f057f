import os
from pathlib import Path

import pytest

from veneer.records.names import LONGEST_BYTES, FreeNames, is_within, mask_of, move_unless_there


def test_a_name_is_given_once_whatever_is_on_disk(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("there")
    names = FreeNames(tmp_path, ["promised.png"])
    given = [names.give(name).name for name in ("1.png", "1.png", "new.png", "new.png", "promised.png")]
    assert given == ["1-2.png", "1-3.png", "new.png", "new-2.png", "promised-2.png"]


def test_names_that_some_file_system_takes_for_one_are_not_both_given(tmp_path: Path) -> None:
    names = FreeNames(tmp_path)
    given = [names.give(name).name.casefold() for name in ("A.png", "a.png", "e\u0301.png", "\u00e9.png")]
    assert len(set(given)) == 4


def test_the_mask_of_a_file_that_is_there_is_no_place_for_another(tmp_path: Path) -> None:
    mask_of(tmp_path / "1.png").write_text("mask")
    assert FreeNames(tmp_path).give("1.jpg").name == "1-2.jpg"


@pytest.mark.parametrize(
    "odd",
    [
        os.fsdecode(b"caf\xe9.png"),
        "x" * 250 + ".png",
        "é" * 127,
        "\ud800.png",
        "a\0b.png",
        ".png",
        "x." + "y" * 250,
    ],
)
def test_whatever_the_name_it_can_be_written_twice(tmp_path: Path, odd: str) -> None:
    names = FreeNames(tmp_path)
    for path in (names.give(odd), names.give(odd)):
        assert len(path.name.encode("utf-8")) <= LONGEST_BYTES + 10
        path.write_text("x")
        mask_of(path).write_text("y")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_move_replaces_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "sub" / "new"
    old.write_text("old")
    assert move_unless_there(old, new)
    old.write_text("newer")
    assert not move_unless_there(old, new)
    assert (old.read_text(), new.read_text()) == ("newer", "old")


def test_a_move_replaces_nothing_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", none)
    test_a_move_replaces_nothing(tmp_path)


def test_a_move_that_was_killed_between_its_two_steps_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    os.link(tmp_path / "a", tmp_path / "b")
    assert move_unless_there(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "a").exists()


def test_a_link_is_moved_itself(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert move_unless_there(tmp_path / "link", tmp_path / "other")
    assert (tmp_path / "other").is_symlink()
    assert (tmp_path / "target").is_file()


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", "a/../../x", "link/x", "a\0b", "."])
def test_names_that_lead_out_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    assert not is_within(tmp_path / "root", name)
    assert is_within(tmp_path / "root", "images/1.png")


def test_what_a_stopped_command_left_is_taken_up_and_a_persons_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"copy")
    assert FreeNames(tmp_path).give("a.png", b"copy").name == "a.png"
    assert FreeNames(tmp_path).give("a.png", b"cope").name == "a-2.png"
    assert FreeNames(tmp_path, ["a.png"]).give("a.png", b"copy").name == "a-2.png"
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert FreeNames(tmp_path).give("b.png", b"copy").name == "b-2.png"
