"""The target beside the result in the studio: a row a caption, and no picture from outside the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from veneer.proof.page import shown_targets
from veneer.records.run import RunDir
from veneer.web.tabs.compare.targets import targets_html

TARGET = {
    "caption": "a <b>cat</b>", "true": "true.png", "base": "base.png", "tuned": "tuned.png",
    "ranks": [2, 1, 1], "num_prompts": 9, "similarity": [0.5, 0.75],
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    for name in ("true", "base", "tuned", "../outside"):
        Image.new("RGB", (8, 8), "red").save(run.root / f"{name}.png")
    return run


def test_a_caption_is_shown_with_three_pictures_and_what_is_said_of_them(run: RunDir) -> None:
    html = targets_html(run, {"targets": [TARGET]})
    assert html.count("<img") == 3
    assert "caption at place 2 of 9" in html and "0.75 like it, caption first of 9" in html
    assert "<b>cat</b>" not in html
    assert shown_targets(run, [TARGET])[0]["is_doubtful"]


def test_a_picture_outside_the_run_is_not_shown(run: RunDir) -> None:
    strange = TARGET | {"true": "../outside.png"}
    assert "<img" not in targets_html(run, {"targets": [strange]})
    assert shown_targets(run, [strange]) == []


def test_before_a_comparison_it_is_said(run: RunDir) -> None:
    assert "held_out_prompts" in targets_html(run, {})
