"""The books of a data set: what is left out is kept whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from veneer.data.provenance import Provenance
from veneer.records.dataset import Dataset
from veneer.records.rejected import read_rejected


def left_out(folder: Path) -> list[tuple[str, bytes]]:
    files = sorted((folder / "rejected").glob("*.png"))
    return [(path.name, path.read_bytes()) for path in files]


def test_a_full_disk_while_a_copy_is_kept_leaves_no_half_of_it_and_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy was left empty, entered as none, and the next command gave another name."""
    source = tmp_path / "bad.png"
    source.write_bytes(b"no picture")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            Provenance(Dataset(tmp_path / "set")).refuse("bad", "broken", source)
    assert left_out(tmp_path / "set") == []
    Provenance(Dataset(tmp_path / "set")).refuse("bad", "broken", source)
    assert left_out(tmp_path / "set") == [("bad.png", b"no picture")]


def test_a_copy_that_was_not_entered_yet_is_the_copy(tmp_path: Path) -> None:
    source, place = tmp_path / "bad.png", tmp_path / "set" / "rejected" / "bad.png"
    source.write_bytes(b"no picture")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"no picture")  # a kill came between the copy and its line
    books = Provenance(Dataset(tmp_path / "set"))
    books.refuse("bad", "broken", source)
    assert [one.file for one in read_rejected(books.dataset)] == ["rejected/bad.png"]
    assert left_out(tmp_path / "set") == [("bad.png", b"no picture")]
