import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from veneer.errors import DatasetError, RunError
from veneer.records.locks import locked

HOLD = """
import sys, pathlib
from veneer.records.locks import locked
with locked(pathlib.Path(sys.argv[1]), "data set"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_until_this_one_ends(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(DatasetError, match="another veneer works on this data set"),
            locked(tmp_path, "data set"),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with locked(tmp_path, "data set"):
        pass


def test_another_thread_is_kept_out_and_an_inner_block_let_in(tmp_path: Path) -> None:
    refused = []

    def other() -> Any:
        try:
            with locked(tmp_path, "run"):
                pass
        except RunError as error:
            refused.append(error)

    with locked(tmp_path, "run"), locked(tmp_path, "run"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_what_killed_commands_left_half_written_goes(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ended = f"{dead.pid}-7.veneer-partial"
    stale = [f".x.json.{ended}", f"a/b/c/d/.e.{ended}", f"train/.step-1.{ended}/state.json"]
    kept = [".mine.veneer-partial", f"x.{ended}", f".notes.{dead.pid}.partial", "lora.partial/mine"]
    for name in (*stale, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with locked(tmp_path, "run"):
        pass
    assert [name for name in (*stale, *kept) if (tmp_path / name).exists()] == kept
    assert not list((tmp_path / "train").iterdir())


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("x")
    with pytest.raises(DatasetError, match="a file, not a folder"), locked(tmp_path / "f.txt", "data set"):
        pass
