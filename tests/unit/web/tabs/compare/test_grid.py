"""Rows of the grid: checkpoints, other runs and foreign files, each at each strength."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from veneer.errors import VeneerError
from veneer.recipe import resolve
from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.tabs.compare import grid
from veneer.web.workspace import Workspace


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Runs of two bases, one of them without a LoRA, one with a learnt word, and a file of another tool."""
    place = Workspace(tmp_path / "workspace")
    place.create()
    for name, base in (("one", "pocket"), ("two", "pocket"), ("sd", "other/base"), ("word", "pocket")):
        run = place.run(name)
        run.lora.mkdir(parents=True)
        run.write_recipe(resolve({"base": {"model": base}}))
        run.lora_file.write_bytes(b"x")
    place.run("word").embedding_file.write_bytes(b"x")
    place.run("bare").root.mkdir()
    place.run("bare").write_recipe(resolve({"base": {"model": "pocket"}}))
    (place.root / "loras").mkdir()
    (place.root / "loras" / "kohya.safetensors").write_bytes(b"x")
    return Studio(place, JobBook(place))


def test_runs_of_the_same_base_and_foreign_files_are_offered(studio: Studio) -> None:
    assert grid.others(studio, "one") == [
        ("this run's result", "run/one"), ("run two", "run/two"),
        ("file kohya.safetensors", "loras/kohya.safetensors"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["run/sd", "run/word", "loras/../runs/one/recipe.toml", "/etc/passwd", "run/.."]
)
def test_nothing_else_is_drawn_with(studio: Studio, name: str) -> None:
    with pytest.raises(VeneerError, match="gone"):
        grid.lora_of(studio, "one", name)


def test_every_file_has_a_row_at_every_strength(studio: Studio, tmp_path: Path) -> None:
    run = studio.workspace.run("one")
    files = grid._files(studio, run, [], ["run/two", "loras/kohya.safetensors"], tmp_path)
    rows = grid._rows(files, (0.5, 1.0))
    assert [row.label for row in rows] == [
        "run two at 0.5", "run two at 1", "file kohya.safetensors at 0.5", "file kohya.safetensors at 1",
    ]  # fmt: skip
    assert len({row.folder for row in rows}) == 4
    assert rows[0].lora == studio.workspace.run("two").lora_file


@pytest.mark.parametrize(("text", "found"), [("", (0.8,)), ("0.4, 1;2", (0.4, 1.0, 2.0)), ("1 1", (1.0,))])
def test_strengths_are_read(text: str, found: tuple[float, ...]) -> None:
    assert grid.read_strengths(text, 0.8) == found


@pytest.mark.parametrize("text", ["x", "-1", "nan", "1e9", "0.5, strong"])
def test_what_is_no_strength_is_refused(text: str) -> None:
    with pytest.raises(VeneerError, match="strengths"):
        grid.read_strengths(text, 1.0)


def test_nothing_and_too_much_is_refused(studio: Studio) -> None:
    asked: tuple[Any, ...] = ("a cat", "0", 1, "", [], [], "")
    assert "0 rows" in list(grid.draw_grid(studio, "one", *asked))[-1]
