"""The order of stages, skipping and refusing, with stages that only leave their files behind."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from veneer import attempt, pipeline
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import Event, Notice, OnEvent, StageFinished
from veneer.recipe import resolve
from veneer.records.files import write_json, write_text
from veneer.records.locks import locked
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES, stage_of


@dataclass(frozen=True)
class Done:
    summary: str


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Names of the stages that were really performed."""
    names = []

    def stage_function(name: str) -> Callable[..., Any]:
        def stage(folder: RunDir, recipe: Recipe, on_event: OnEvent) -> Done:
            names.append(name)
            leave_files(name, folder, recipe)
            on_event(Notice(name, "note", f"from {name}"))
            return Done(f"{name} done")

        return stage

    monkeypatch.setattr(attempt, "load_stage", stage_function)
    return names


def leave_files(name: str, folder: RunDir, recipe: Recipe) -> None:
    match name:
        case "collect":
            write_text(folder.dataset / "images" / "1.png", "a picture")
        case "caption":
            if not (folder.dataset / "metadata.csv").exists():
                write_text(folder.dataset / "metadata.csv", "file_name,caption\nimages/1.png,a dot\n")
        case "encode":
            captions = (folder.dataset / "metadata.csv").read_text()
            write_json(folder.cache / "index.json", [recipe.encode.resolution, captions])
        case "train":
            write_json(folder.candidates_json, {"seed": recipe.train.seed})
        case "export":
            write_text(folder.lora_file, folder.candidates_json.read_text())
        case "compare":
            write_json(folder.metrics_json, {"verdict": "worse", "reasons": ["because"]})
        case _:
            target = stage_of(name).output(folder)
            write_text(target if target.suffix else target / "x", name)


def test_stages_run_in_order_and_are_recorded(performed: list[Any], tmp_path: Path) -> None:
    result = pipeline.run(Recipe(), tmp_path / "run")
    assert tuple(performed) == STAGE_NAMES
    assert (result.verdict, result.reasons, result.exit_status) == ("worse", ("because",), 4)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert list(record["stages"]) == list(STAGE_NAMES)
    assert record["versions"]["torch"]
    assert record["stages"]["train"]["notices"] == [{"code": "note", "count": 1, "message": "from train"}]
    assert record["stages"]["train"]["seconds"] >= 0
    assert record["stages"]["train"]["peak_memory_gib"] > 0


def test_the_same_command_again_does_nothing(performed: list[Any], tmp_path: Path) -> None:
    pipeline.run(Recipe(), tmp_path / "run")
    performed.clear()
    events: list[Any] = []
    pipeline.run(Recipe(), tmp_path / "run", on_event=events.append)
    assert performed == []
    assert [e.skipped for e in events if isinstance(e, StageFinished)] == [True] * len(STAGE_NAMES)


def test_a_changed_prompt_draws_again_but_does_not_train(performed: list[Any], tmp_path: Path) -> None:
    pipeline.run(Recipe(), tmp_path / "run")
    performed.clear()
    pipeline.run(resolve({"generate": {"prompts": ["another"]}}), tmp_path / "run")
    assert performed[0] == "generate"
    assert "train" not in performed


def test_a_changed_learning_rate_is_refused_with_the_difference(performed: list[Any], tmp_path: Path) -> None:
    pipeline.run(Recipe(), tmp_path / "run")
    recipe = resolve({"train": {"learning_rate": 1e-3}})
    with pytest.raises(RunError, match=r"train\.learning_rate: 0\.0001 -> 0\.001.*--redo train"):
        pipeline.run(recipe, tmp_path / "run")
    written = (tmp_path / "run/recipe.toml").read_text()
    assert "0.001" not in written
    performed.clear()
    pipeline.run(recipe, tmp_path / "run", redo=["train"])
    assert performed[0] == "train"
    assert "collect" not in performed


def test_an_edited_caption_after_training_is_refused_not_ignored(
    performed: list[Any], tmp_path: Path
) -> None:
    pipeline.run(Recipe(), tmp_path / "run")
    write_text(tmp_path / "run/dataset/metadata.csv", "file_name,caption\nimages/1.png,a red dot\n")
    with pytest.raises(RunError, match="data set was changed after `train`"):
        pipeline.run(Recipe(), tmp_path / "run")
    pipeline.run(Recipe(), tmp_path / "run", redo=["train"])


def test_a_stage_that_fails_is_done_again_and_nothing_before_it(
    performed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = attempt.load_stage

    def failing(name: str) -> Callable[..., Any]:
        if name == "train":
            raise RuntimeError("no power")
        return real(name)

    monkeypatch.setattr(attempt, "load_stage", failing)
    with pytest.raises(RuntimeError):
        pipeline.run(Recipe(), tmp_path / "run")
    monkeypatch.setattr(attempt, "load_stage", real)
    performed.clear()
    pipeline.run(Recipe(), tmp_path / "run")
    assert performed[0] == "train"


def test_a_single_stage_needs_those_before_it(performed: list[Any], tmp_path: Path) -> None:
    folder = RunDir(tmp_path / "run")
    folder.write_recipe(Recipe())
    with pytest.raises(RunError, match="`collect` is not done yet"):
        pipeline.run_stage("train", folder)
    pipeline.run(Recipe(), tmp_path / "run")
    performed.clear()
    pipeline.run_stage("compare", folder)
    assert performed == ["compare"]


def test_two_processes_on_one_run_are_refused(performed: list[Any], tmp_path: Path) -> None:
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path, "run"):
            is_held.set()
            may_end.wait()

    other = threading.Thread(target=hold)
    other.start()
    is_held.wait()
    try:
        with pytest.raises(RunError, match="another veneer"):
            pipeline.run(Recipe(), tmp_path)
    finally:
        may_end.set()
        other.join()


def test_settings_that_do_not_act_are_told_once_before_any_stage_and_recorded(
    performed: list[str], tmp_path: Path
) -> None:
    recipe = resolve({"train": {"snr_gamma": 2.0}})
    idle: list[tuple[str, list[str]]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice) and event.code == "setting-idle":
            idle.append((event.stage, list(performed)))

    pipeline.run(recipe, tmp_path, on_event=listen)
    assert idle == [("train", [])]
    record = json.loads((tmp_path / "run.json").read_text())["stages"]
    assert [notice["code"] for notice in record["train"]["notices"]] == ["setting-idle", "note"]
    assert [notice["code"] for notice in record["encode"]["notices"]] == ["note"]
    pipeline.run(recipe, tmp_path, on_event=listen)
    assert len(idle) == 1


def test_a_single_stage_tells_of_its_own_settings_alone(performed: list[str], tmp_path: Path) -> None:
    recipe = resolve({"train": {"snr_gamma": 2.0}})
    pipeline.run(recipe, tmp_path)
    events: list[Event] = []
    pipeline.run_stage("generate", RunDir(tmp_path), on_event=events.append)
    assert [event.code for event in events if isinstance(event, Notice)] == ["note"]


def test_what_else_lies_beside_the_lora_survives_doing_it_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for path in (*run.exported, run.lora / "notes.txt", run.lora / "kohya" / "other.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    attempt.forget_results(stage_of("export"), run)
    left = {path.name for path in run.lora.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "other.safetensors"}
