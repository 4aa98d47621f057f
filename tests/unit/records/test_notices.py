"""What a stopped stage said stands in the record as if it had been done in one go."""

from pathlib import Path

import pytest

from veneer.events import Notice
from veneer.records.notices import Notices, forget_notices
from veneer.records.run import RunDir


def say(notices: Notices, *messages: str, is_passing: bool = False) -> None:
    for message in messages:
        notices.add(Notice("encode", message.split()[0], message, is_passing))


def counted(notices: Notices) -> list[tuple[str, int, str]]:
    return [(one.code, one.count, one.message) for one in notices.counted()]


def test_what_is_said_again_counts_once_and_what_is_not_stays(tmp_path: Path) -> None:
    whole = Notices(RunDir(tmp_path / "whole"), "encode", "s")
    say(whole, "cut a", "long b", "long b", "tiled c")
    for stop in range(5):
        run = RunDir(tmp_path / str(stop))
        say(Notices(run, "encode", "s"), *["cut a", "tiled c", "long b", "long b"][:stop])
        again = Notices(run, "encode", "s")
        say(again, "cut a", "long b", "long b", "tiled c")
        assert sorted(counted(again)) == sorted(counted(whole))


def test_what_passes_and_what_other_settings_said_is_forgotten(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    first = Notices(run, "encode", "s")
    say(first, "busy a", is_passing=True)
    say(first, "cut b")
    assert [code for code, _, _ in counted(first)] == ["busy", "cut"]
    assert [code for code, _, _ in counted(Notices(run, "encode", "s"))] == ["cut"]
    assert not counted(Notices(run, "encode", "other"))
    assert not counted(Notices(run, "check", "s"))


def test_a_finished_stage_leaves_no_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    say(Notices(run, "encode", "s"), "cut a")
    say(Notices(run, "check", "s"), "cut a")
    forget_notices(run, "encode")
    assert counted(Notices(run, "check", "s"))
    forget_notices(run, "check")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"[]\n{}\n", b"\xff\n{", b'{"stage": "encode", "attempt": "x"}\n'])
def test_a_damaged_file_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".notices.jsonl").write_bytes(content)
    assert not counted(Notices(RunDir(tmp_path), "encode", "s"))
