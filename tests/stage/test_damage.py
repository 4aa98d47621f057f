"""What finished stages left, cut, emptied, changed or gone: told, and made anew by the same command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.tiny import tiny_pictures
from veneer import run
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import Event, Notice, StageFinished
from veneer.pipeline import run_stage
from veneer.recipe import resolve
from veneer.records.checksums import Checksums, damaged_files
from veneer.records.run import RunDir

TIMES = re.compile(rb'"(seconds|peak_\w+|finished|images_per_second)": ?("[^"]*"|[0-9.e+-]+)')


@pytest.fixture(scope="module")
def recipe(base_folder: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    pictures = tmp_path_factory.mktemp("sources") / "pictures"
    tiny_pictures(pictures, 8)
    return resolve(
        {
            "base": {"model": str(base_folder)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": "none", "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "train": {"max_train_steps": 4, "checkpointing_steps": 2, "validation_steps": 2},
            "generate": {"prompts": ["a dot"], "seeds": [0, 1], "num_inference_steps": 1, "resolution": 32},
            "compare": {"embedder": str(clip_folder), "held_out_prompts": 1, "general_prompts": []},
        }
    )


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(recipe, tmp_path_factory.mktemp("finished") / "run").root


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    told = {path.relative_to(folder).as_posix(): TIMES.sub(b"", path.read_bytes()) for path in files}
    # Times, and sums of files that tell times in their own words.
    return {name: raw for name, raw in told.items() if name not in {"checksums.json", "report/index.html"}}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))


DAMAGE: list[tuple[str, str, Callable[[Path], None]]] = [
    ("encode", "cache/index.json", empty),
    ("encode", "cache/latents/*", flip),
    ("encode", "cache/text/*", cut),
    ("train", "train/candidates.json", cut),
    ("export", "lora/pytorch_lora_weights.safetensors", cut),
    ("export", "lora/kohya/*.safetensors", flip),
    ("report", "lora/kohya/*.json", cut),
    ("generate", "samples/base/000-1.png", flip),
    ("generate", "samples/tuned/000-0.png", Path.unlink),
    ("compare", "report/metrics.json", empty),
    ("report", "report/report.md", empty),
]


@pytest.mark.parametrize(("stage", "name", "harm"), DAMAGE, ids=[f"{h.__name__} {n}" for _, n, h in DAMAGE])
def test_damage_is_told_and_made_good(
    folder: Path, recipe: Recipe, stage: str, name: str, harm: Callable[[Path], None]
) -> None:
    before = contents(folder)
    harm(min(folder.glob(name)))
    events: list[Event] = []
    run(recipe, folder, on_event=events.append)
    told = [event for event in events if isinstance(event, Notice) and event.code == "output-damaged"]
    assert [event.stage for event in told] == [stage]
    again = [event.stage for event in events if isinstance(event, StageFinished) and not event.skipped]
    assert again == [stage]
    after = contents(folder)
    del before["run.json"], after["run.json"]  # the stage that was done again has a notice more
    assert after == before


def test_a_later_stage_alone_says_what_is_damaged(folder: Path) -> None:
    cut(folder / "lora" / "pytorch_lora_weights.safetensors")
    with pytest.raises(RunError, match=r"what `export` made is damaged.*veneer export"):
        run_stage("report", RunDir(folder))


def test_chosen_weights_are_not_made_anew_unasked(folder: Path, recipe: Recipe) -> None:
    chosen = json.loads((folder / "train" / "candidates.json").read_text())["chosen"]["path"]
    flip(folder / chosen)
    with pytest.raises(RunError, match=r"only all of it can be made anew.*--redo train"):
        run(recipe, folder)
    run(recipe, folder, redo=["train"])
    assert not damaged_files(RunDir(folder), "train")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"stages": []}', '{"stages": {"train": {}}}', "[" * 100_000]
)
def test_a_damaged_record_is_told_and_its_copy_taken(folder: Path, recipe: Recipe, text: str) -> None:
    before = json.loads((folder / "run.json").read_text())["stages"]
    (folder / "run.json").write_text(text)
    events: list[Event] = []
    run(recipe, folder, on_event=events.append)
    assert [event.code for event in events if isinstance(event, Notice)] == ["record-damaged"]
    assert all(event.skipped for event in events if isinstance(event, StageFinished))
    assert json.loads((folder / "run.json").read_text())["stages"] == before


def test_without_record_and_copy_nothing_that_is_there_is_lost(folder: Path, recipe: Recipe) -> None:
    before = contents(folder)
    for name in ("run.json", "checksums.json"):
        empty(folder / name)
    run(recipe, folder)
    after = contents(folder)
    assert {name for name in before if name.startswith(("train/", "lora/", "samples/", "cache/"))} <= set(
        after
    )
    assert all(
        after[name] == before[name] for name in before if name.startswith(("train/", "lora/", "cache/"))
    )


def test_a_strangers_checksums_reach_no_file_outside(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    own = tmp_path / "precious.txt"
    own.write_text("mine")
    (folder / "cache" / "link").symlink_to(own)
    plain = json.loads((folder / "checksums.json").read_text())
    names = [
        "../precious.txt",
        "cache/../../precious.txt",
        str(own),
        "cache/link",
        "dataset/metadata.csv",
        "",
    ]
    plain["files"]["encode"] |= dict.fromkeys(names, "0")
    (folder / "checksums.json").write_text(json.dumps(plain))
    assert not damaged_files(RunDir(folder), "encode")
    run(recipe, folder)
    assert own.read_text() == "mine"


@pytest.mark.parametrize("redo", ["export", "report"])
def test_no_kill_makes_a_file_damaged_or_its_damage_unseen(
    folder: Path, recipe: Recipe, redo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill would leave is looked at after each step that changes the folder."""
    here = RunDir(folder)
    seen: list[Any] = []
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, looking(getattr(Path, name), here, seen))
    run(recipe, folder, redo=[redo])
    assert len(seen) > 5
    assert not [step for step in seen if step[1:] != ([], [])]


def looking(change: Callable[..., None], here: RunDir, seen: list[Any]) -> Callable[..., None]:
    def changed(path: Path, *arguments: Any, **more: Any) -> None:
        change(path, *arguments, **more)
        done, known = here.read_record().stages, Checksums.read(here.checksums_json, "").files
        damaged = [bad.name for stage in known for bad in damaged_files(here, stage)]
        unknown = [
            stage for stage in done if stage not in {"collect", "check", "caption"} and not known.get(stage)
        ]
        seen.append((path.name, damaged, unknown))

    return changed
