import os
from pathlib import Path

import pytest

from veneer.config import Recipe
from veneer.errors import RunError
from veneer.records.files import staged_folder, write_text
from veneer.records.run import RunDir


def test_the_recipe_is_written_and_read_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.write_recipe(Recipe())
    assert run.read_recipe() == Recipe()


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"recipe\.toml is missing"):
        RunDir(tmp_path).read_recipe()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        RunDir(tmp_path).read_record()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_staged_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "lora"
    with pytest.raises(RuntimeError), staged_folder(final) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not final.exists()
    with staged_folder(final) as folder:
        assert not (folder / "half").exists()
        (folder / "whole").write_text("x")
    assert [p.name for p in final.iterdir()] == ["whole"]


def test_a_staged_folder_replaces_an_older_one(tmp_path: Path) -> None:
    final = tmp_path / "lora"
    for content in ("one", "two"):
        with staged_folder(final) as folder:
            (folder / content).write_text("x")
    assert [p.name for p in final.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["lora"]
