"""What is written aside: whole or not at all, and what a kill leaves goes where it is ours and nobody's."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from veneer.captions.records import append_journal
from veneer.errors import DatasetError, VeneerError
from veneer.records import files
from veneer.records.dataset import Dataset
from veneer.records.files import remove_partials, staged_files, staged_folder, write_bytes
from veneer.records.jsonlines import append_lines, drop_torn_line
from veneer.records.locks import locked

KILLED = """
import os, signal, sys, pathlib
from veneer.captions.records import append_journal
from veneer.errors import DatasetError, VeneerError
from veneer.records import files
from veneer.records.dataset import Dataset
final = pathlib.Path(sys.argv[2])

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

files.os.fsync = kill
if sys.argv[1] == "file":
    files.write_bytes(final, b"new")
with getattr(files, sys.argv[1])(final) as folder:
    (folder / "x").write_text("new")
"""


def again(kind: str, final: Path) -> None:
    if kind == "file":
        write_bytes(final, b"new")
        return
    with (staged_folder if kind == "staged_folder" else staged_files)(final) as folder:
        (folder / "x").write_text("new")


@pytest.mark.parametrize("kind", ["file", "staged_folder", "staged_files"])
def test_the_next_process_removes_what_a_killed_one_left_beside_the_same_place(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SWEPT", set())
    final = tmp_path / "result"
    (tmp_path / "result.partial").mkdir()
    (tmp_path / "result.partial" / "mine").write_text("of a person")
    subprocess.run([sys.executable, "-c", KILLED, kind, str(final)], check=False)
    assert not final.exists()
    assert len(list(tmp_path.iterdir())) == 2, "the kill was meant to leave something"
    again(kind, final)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result", "result.partial"]
    assert (tmp_path / "result.partial" / "mine").read_text() == "of a person"


def living(process: subprocess.Popen[bytes], path: Path) -> Path:
    return path.with_name(f".x.{process.pid}-0.veneer-partial")


def own(process: subprocess.Popen[bytes], path: Path) -> Path:
    return path.with_name(f".x.{os.getpid()}-99999.veneer-partial")


@pytest.mark.parametrize(
    ("name", "age_seconds", "stays"), [(living, 0, True), (living, 9_999, False), (own, 0, False)]
)
def test_a_living_process_keeps_its_files_but_not_those_of_an_earlier_one_of_its_number(
    tmp_path: Path, name: Callable[..., Path], age_seconds: float, stays: bool
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        path = name(process, tmp_path / "x")
        path.write_text("half")
        os.utime(path, (time.time() - age_seconds,) * 2)
        remove_partials(tmp_path)
        assert path.exists() == stays
        process.kill()


def test_what_this_process_writes_just_now_stays(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "x") as folder:
        remove_partials(tmp_path)
        assert folder.is_dir()


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".safetensors")
    write_bytes(path, b"x")
    assert path.read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


SOURCE = Path(__file__).parents[3] / "src" / "veneer"
CHANGES = re.compile(r"""open\(\s*["'](?:a|ab|r\+|r\+b)["']|os\.truncate|\bmode=["'](?:a|ab|r\+|r\+b)["']""")
MAY = {
    "records/files.py",
    "records/jsonlines.py",  # after it has refused a link
    "cli/eventlog.py",  # a file that the user names
}


def test_files_are_added_to_in_one_place_only() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if CHANGES.search(path.read_text())
    }
    assert found <= MAY


def adds(path: Path) -> None:
    append_lines(path, [{"a": 1}])


def journals(path: Path) -> None:
    journal = path.with_name(".captions-0.jsonl")
    path.rename(journal)
    append_journal(Dataset(path.parent), 0, [])


def locks(path: Path) -> None:
    lock = path.with_name(".lock")
    path.rename(lock)
    with locked(path.parent, "data set"):
        pass


@pytest.mark.parametrize("change", [adds, drop_torn_line, journals, locks])
def test_what_a_strangers_link_leads_to_is_not_changed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """A folder that somebody hands over may hold links to any file of the user's."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "mine").write_bytes(b"line\nno end")
    (tmp_path / "theirs" / "x.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(VeneerError, match="a link where"):
        change(tmp_path / "theirs" / "x.jsonl")
    assert (tmp_path / "mine").read_bytes() == b"line\nno end"


def test_what_cannot_be_locked_is_told(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(DatasetError, match="the lock cannot be taken"), locked(tmp_path, "data set"):
        pass
