"""What a notebook shows of a data set and a run: escaped, small, and never in the way of bad pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tiny import tiny_pictures
from veneer.records import html
from veneer.records.dataset import Dataset, Item
from veneer.records.run import RunDir


def test_a_data_set_shows_its_first_pictures_with_escaped_captions(tmp_path: Path) -> None:
    tiny_pictures(tmp_path, 14)
    dataset = Dataset(tmp_path)
    name = dataset.picture_names()[0]
    dataset.write_metadata([Item(name, "<script>alert(1)</script>")])
    page = dataset._repr_html_()
    assert '<th style="text-align:left">pictures</th><td style="text-align:left">14</td>' in page
    assert "&lt;script&gt;" in page and "<script>" not in page
    assert page.count("data:image/png;base64,") == 12


def test_a_picture_that_is_broken_or_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pictures(tmp_path, 1)
    (whole,) = tmp_path.glob("*.png")
    broken = tmp_path / "broken<b>.png"
    broken.write_bytes(whole.read_bytes()[:60])
    assert "broken&lt;b&gt;.png" in html.pictures_html([(broken, "")])
    monkeypatch.setattr(html, "MOST_PIXELS", 100)
    assert "base64" not in html.pictures_html([(whole, "")])


def test_a_run_without_a_stage_says_so(tmp_path: Path) -> None:
    assert "none is done yet" in RunDir(tmp_path)._repr_html_()
