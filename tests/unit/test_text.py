import os
from pathlib import Path

import pytest

from veneer.errors import DatasetError
from veneer.text import read_text_any, with_trigger


def test_a_file_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 40 * 2**30)  # takes no room on the disk
    with pytest.raises(DatasetError, match="larger than 1024 MiB"):
        read_text_any(path)
    path.write_text("x" * 11)
    with pytest.raises(DatasetError, match="larger"):
        read_text_any(path, 10)
    assert read_text_any(path, 11) == "x" * 11


def test_what_is_gone_or_may_not_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_text_any(tmp_path / "gone.txt")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_text_any(tmp_path)


@pytest.mark.parametrize("raw", [b"\xe9", b"caf\xe9", "ça".encode("cp1252")])
def test_a_last_accent_of_windows_is_no_cut_character(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(raw)
    assert read_text_any(tmp_path / "t.txt") == raw.decode("cp1252")


def test_the_trigger_is_put_once() -> None:
    assert with_trigger("a dog", "vnr") == "vnr, a dog"
    assert with_trigger("vnr, a dog", "vnr") == with_trigger("vnr a dog", "vnr").replace("vnr a", "vnr, a")
    assert with_trigger("", "vnr") == "vnr"
    assert with_trigger("vnrish dog", "vnr") == "vnr, vnrish dog"
