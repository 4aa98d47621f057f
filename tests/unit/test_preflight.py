"""What a run needs is told before its first stage, all of it at once, and only what its stages need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from helpers import tiny
from veneer import hubnames, pipeline, preflight
from veneer.cli import exit_status
from veneer.errors import BaseModelError, RecipeError, RunError
from veneer.preflight import Need, needs_of, refuse_missing
from veneer.recipe import load_recipe, resolve
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES


def found(
    tmp_path: Path, tables: dict[str, dict[str, Any]], to_do: tuple[str, ...] = STAGE_NAMES
) -> dict[str, Need]:
    return {f"{need.what} {need.name}": need for need in needs_of(RunDir(tmp_path), resolve(tables), to_do)}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "hub_answers", lambda: False)


def test_the_bundled_recipe_needs_nothing(tmp_path: Path, offline: None) -> None:
    assert needs_of(RunDir(tmp_path), load_recipe("pocket-8bit"), STAGE_NAMES) == ()


def test_all_that_is_missing_is_told_together_before_a_byte_is_written(tmp_path: Path, offline: None) -> None:
    needs = needs_of(RunDir(tmp_path), load_recipe("sd15-style"), STAGE_NAMES)
    missing = {need.what for need in needs if need.state == "missing"}
    assert missing == {"base", "vae", "captioner", "embedder"}
    with pytest.raises(RunError) as caught:
        refuse_missing(RunDir(tmp_path), needs)
    told = str(caught.value)
    assert "stable-diffusion-v1-5" in told and "blip" in told and "compare.embedder=pocket" in told


def test_the_hub_is_asked_once_however_much_has_to_come_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(preflight, "hub_answers", lambda: bool(asked.append(1)))
    needs_of(RunDir(tmp_path), load_recipe("sd15-style"), STAGE_NAMES)
    assert len(asked) == 1
    needs_of(RunDir(tmp_path), load_recipe("pocket-8bit"), STAGE_NAMES)
    assert len(asked) == 1


def test_online_they_are_to_be_fetched_and_the_run_begins(tmp_path: Path) -> None:
    needs = needs_of(RunDir(tmp_path), load_recipe("sd15-style"), STAGE_NAMES)
    assert {need.state for need in needs} == {"to fetch"}
    refuse_missing(RunDir(tmp_path), needs)


def test_a_captioner_without_safetensors_is_refused_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found out at the third stage, and the default captioner was one."""
    listed = {"old/captioner": ["config.json", "pytorch_model.bin"], "new/clip": ["model.safetensors"]}
    monkeypatch.setattr(HfApi, "list_repo_files", lambda self, name, **kwargs: listed[name])
    monkeypatch.setattr(preflight, "hub_answers", lambda: True)
    tables: dict[str, dict[str, Any]] = {
        "base": {"model": "pocket"},
        "collect": {"sources": ["bing:cats"]},
        "caption": {"model": "old/captioner"},
        "compare": {"embedder": "new/clip"},
    }
    needs = found(tmp_path, tables)
    assert needs["captioner old/captioner"].state == "missing"
    assert "safetensors" in needs["captioner old/captioner"].todo
    assert needs["embedder new/clip"].state == "to fetch"


def test_what_no_stage_to_do_needs_is_not_asked_for(tmp_path: Path, offline: None) -> None:
    tables = {"base": {"model": "owner/base"}, "caption": {"model": "owner/captioner"}}
    assert set(found(tmp_path, tables, ("compare", "report"))) == {
        f"embedder {hubnames.CLIP}",
        f"embedder {hubnames.DINO}",
    }


def test_pictures_that_may_bring_captions_need_no_captioner(tmp_path: Path, offline: None) -> None:
    named = {"base": {"model": "pocket"}, "caption": {"model": "owner/captioner"}}
    assert not found(tmp_path, named | {"collect": {"sources": [str(tmp_path)]}})
    assert "captioner owner/captioner" in found(tmp_path, named | {"collect": {"sources": ["bing:cats"]}})


def test_an_optimizer_that_is_not_installed_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    tables = {"base": {"model": "pocket"}, "train": {"optimizer": "prodigy"}, "caption": {"model": "none"}}
    assert "pip install" in found(tmp_path, tables)["optimizer prodigy"].todo
    assert not found(tmp_path, tables, ("generate",))


def test_a_full_disk_is_told_before_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 2**28

    monkeypatch.setattr(shutil, "disk_usage", lambda place: Full)
    needs = needs_of(RunDir(tmp_path), load_recipe("pocket-8bit"), STAGE_NAMES)
    assert [need.what for need in needs] == ["disk"]
    assert needs_of(RunDir(tmp_path), load_recipe("pocket-8bit"), ()) == ()


def test_a_run_that_lacks_its_base_stops_at_once_and_writes_nothing(
    tmp_path: Path, offline: None, capsys: pytest.CaptureFixture[str], picture_folder: Path
) -> None:
    out = tmp_path / "run"
    words = ["run", "sd15-style", "--pictures", str(picture_folder), "--style", "oil", "--out", str(out)]
    assert exit_status(words) == 1
    assert "base stable-diffusion-v1-5/stable-diffusion-v1-5" in capsys.readouterr().err
    assert not (out / "dataset").exists() and not (out / "recipe.toml").exists()


def test_a_dry_run_is_ten_lines_and_has_the_recipe_where_it_is_asked_for(
    tmp_path: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "pocket-8bit", "--out", str(tmp_path / "run"), "--dry-run"]
    assert exit_status(words) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) <= 10
    assert "training: 170 steps of 8 at 128 px" in told and "of memory" in told
    assert exit_status([*words, "--recipe"]) == 0
    assert "[train]" in capsys.readouterr().out
    assert exit_status(["run", "sd15-style", "--out", str(tmp_path / "run"), "--dry-run"]) == 1
    assert "needs base stable-diffusion-v1-5/stable-diffusion-v1-5: missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["krea/Krea-2-Raw", "stabilityai/sdxl-turbo", "black-forest-labs/FLUX.2-klein-4B"]
)
def test_a_base_that_is_not_customised_is_refused_before_the_first_stage(tmp_path: Path, name: str) -> None:
    recipe = resolve({"base": {"model": name}, "collect": {"sources": [str(tmp_path)]}})
    with pytest.raises(BaseModelError, match="another family"):
        pipeline.run(recipe, tmp_path / "run")
    assert not RunDir(tmp_path / "run").recipe_toml.exists()


def test_what_the_base_cannot_do_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    base = tiny.tiny_klein(tmp_path / "base")
    recipe = resolve({"base": {"model": str(base)}, "collect": {"sources": [str(tmp_path)]}})
    with pytest.raises(RecipeError, match="does not draw"):
        pipeline.run(recipe, tmp_path / "run")
    assert not RunDir(tmp_path / "run").recipe_toml.exists()
    preflight.refuse_base(recipe, ("report",))


def test_a_verb_of_one_stage_tells_what_is_missing_before_it_asks_the_hub(
    tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunDir(tmp_path).write_recipe(load_recipe("sd15-style"))
    monkeypatch.setattr(pipeline, "is_done", lambda *_: True)
    monkeypatch.setattr("veneer.attempt.load_stage", lambda name: pytest.fail("the stage began"))
    with pytest.raises(RunError, match=r"base stable-diffusion-v1-5.* not to be had|not to be had: base"):
        pipeline.run_stage("encode", RunDir(tmp_path))


@pytest.mark.parametrize("source", ["no-such-folder", "urls:no-such-list.txt", "urls:", " "])
def test_a_source_that_is_not_there_is_told_before_the_first_stage(
    tmp_path: Path, offline: None, source: str
) -> None:
    """`--dry-run` found nothing missing, and the run was refused after it had begun."""
    asked: dict[str, dict[str, Any]] = {"collect": {"sources": [source]}, "caption": {"model": "none"}}
    tables = {"base": {"model": "pocket"}, **asked}
    need = found(tmp_path, tables)[f"source {source}"]
    assert need.state == "missing" and "folder" in need.todo
    assert not found(tmp_path, tables, ("train",))


@pytest.mark.parametrize(
    ("what", "table"),
    [
        ("base", {"base": {"model": "./gone"}}),
        ("vae", {"base": {"model": "pocket", "vae": "./gone"}}),
        ("embedder", {"compare": {"embedder": "./gone"}}),
        ("captioner", {"caption": {"model": "./gone"}}),
    ],
)
def test_a_model_whose_folder_is_not_there_is_told_too(
    tmp_path: Path, offline: None, what: str, table: dict[str, dict[str, Any]]
) -> None:
    asked: dict[str, dict[str, Any]] = {"caption": {"model": "none"}, "collect": {"sources": ["bing:x"]}}
    tables = {"base": {"model": "pocket"}, **asked}
    need = found(tmp_path, tables | table)[f"{what} ./gone"]
    assert need.state == "missing" and "no such file or folder" in need.todo
