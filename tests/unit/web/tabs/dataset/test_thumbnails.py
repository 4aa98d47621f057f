"""Thumbnails: made once, by whoever asks first."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.datasets import thirty_dots
from veneer.web.tabs.dataset.thumbnails import SIDE_PX, thumbnail


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return thirty_dots(tmp_path / "set")


def test_thumbnails_are_made_once_and_anew_where_the_picture_changed(folder: Path, tmp_path: Path) -> None:
    picture = folder / "images/000001.png"
    first = thumbnail(picture, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.webp")
    stamp = kept.stat().st_mtime_ns
    assert thumbnail(picture, tmp_path / "cache") == first
    assert kept.stat().st_mtime_ns == stamp
    Image.new("RGB", (900, 300), "red").save(picture)
    again = thumbnail(picture, tmp_path / "cache")
    assert again != first


def test_a_thumbnail_may_be_asked_for_while_it_is_made(folder: Path, tmp_path: Path) -> None:
    def make(number: int) -> list[Any]:
        return [thumbnail(path, tmp_path / "cache") for path in sorted((folder / "images").iterdir())]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(make, range(8))
    assert all(first)
    assert all(other == first for other in others)


def test_thumbnails_keep_to_their_size_and_broken_pictures_have_none(tmp_path: Path) -> None:
    Image.new("RGB", (900, 300), "red").save(tmp_path / "wide.png")
    small = Image.open(io.BytesIO(thumbnail(tmp_path / "wide.png", tmp_path / "c")))
    assert small.width == SIDE_PX
    assert abs(small.height - SIDE_PX / 3) < 1
    (tmp_path / "broken.png").write_bytes(b"no")
    assert thumbnail(tmp_path / "broken.png", tmp_path / "c") == b""
    assert thumbnail(tmp_path / "none.png", tmp_path / "c") == b""


def test_no_picture_is_decoded_in_the_studios_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TIFF of 640 kB had it take 3.2 GiB."""
    Image.new("RGB", (500, 300), "red").save(tmp_path / "large.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    real = Image.open
    monkeypatch.setattr(Image, "open", None)
    made = {
        name: thumbnail(tmp_path / f"{name}.png", tmp_path / "cache") for name in ("large", "tiny", "broken")
    }
    monkeypatch.setattr(Image, "open", real)
    assert made["broken"] == b""
    assert real(io.BytesIO(made["large"])).size == (224, 134)
    assert real(io.BytesIO(made["tiny"])).size == (224, 224)
