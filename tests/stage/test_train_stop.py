"""A training stopped by a signal at any step and started again leaves what one never stopped leaves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from helpers.training import copy_run, encoded_run, recipe_for, train_quietly
from veneer.config import Recipe
from veneer.events import StageStarted, StepEvent
from veneer.records.run import RunDir
from veneer.stages.train import train

STEPS = 7
OPTIONS: dict[str, Any] = {
    "max_train_steps": STEPS,
    "validation_steps": 2,
    "checkpointing_steps": 3,
    "preview_steps": 4,
    "checkpoints_total_limit": 2,
    "average_last": 2,
    "ema_decay": 0.9,
}
DRAWN = {"prompts": ("a city",), "num_inference_steps": 1, "resolution": 32}


def recipe(base: Path, optimizer: str) -> Recipe:
    return recipe_for(base, train=OPTIONS | {"optimizer": optimizer}, generate=DRAWN)


@pytest.fixture(scope="module")
def ready(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return encoded_run(tmp_path_factory.mktemp("ready") / "run", recipe(base_folder, "adamw"))


@pytest.fixture(scope="module")
def never_stopped(
    ready: RunDir, base_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    found = {}
    for optimizer in ("adamw", "schedulefree"):
        run = copy_run(ready, tmp_path_factory.mktemp(optimizer) / "run")
        train_quietly(run, recipe(base_folder, optimizer))
        found[optimizer] = everything(run)
    return found


def everything(run: RunDir) -> dict[str, Any]:
    """Every file of a training with its bytes; of the log what is no time."""
    files = {p.relative_to(run.root).as_posix(): p.read_bytes() for p in run.train.rglob("*") if p.is_file()}
    lines = [json.loads(line) for line in files.pop("train/log.jsonl").splitlines()]
    return files | {"log": [(line["step"], line["loss"], line["grad_norm"]) for line in lines]}


def stop_in(run: RunDir, settings: Recipe, step: int, number: int = signal.SIGINT) -> None:
    """Train, and send a signal while a step is worked on."""

    def on_event(event: Any) -> None:
        before = event.step if isinstance(event, StepEvent) else 0
        if isinstance(event, StepEvent | StageStarted) and before == step - 1:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(run, settings, on_event)


# At 2, 4 and 6 a validation is due, at 3 and 6 a checkpoint, at 4 a preview, at the last one all of them.
@pytest.mark.parametrize(
    ("step", "optimizer"),
    [
        (2, "adamw"),
        pytest.param(5, "adamw", marks=pytest.mark.heavy),
        (5, "schedulefree"),
        *(pytest.param(n, "schedulefree", marks=pytest.mark.heavy) for n in range(1, STEPS + 1) if n != 5),
    ],
)
def test_a_stop_at_any_step_changes_nothing(
    ready: RunDir, never_stopped: dict[str, Any], base_folder: Path, tmp_path: Path, optimizer: str, step: int
) -> None:
    run, settings = copy_run(ready, tmp_path / "run"), recipe(base_folder, optimizer)
    stop_in(run, settings, step)
    train_quietly(run, settings)
    assert everything(run) == never_stopped[optimizer]


def test_stops_at_every_step_of_one_training_change_nothing(
    ready: RunDir, never_stopped: dict[str, Any], base_folder: Path, tmp_path: Path
) -> None:
    run, settings = copy_run(ready, tmp_path / "run"), recipe(base_folder, "schedulefree")
    stop_in(run, settings, 1)
    for step in range(2, STEPS + 1):
        with pytest.raises(KeyboardInterrupt):
            train(run, settings, stop_at_once(step))
    train_quietly(run, settings)
    assert everything(run) == never_stopped["schedulefree"]


def stop_at_once(step: int) -> Any:
    def on_event(event: Any) -> None:
        if isinstance(event, StageStarted):
            os.kill(os.getpid(), signal.SIGINT)
        assert not isinstance(event, StepEvent) or event.step == step

    return on_event


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_closed_terminal_and_a_scheduler_stop_it_as_ctrl_c_does(
    ready: RunDir, never_stopped: dict[str, Any], base_folder: Path, tmp_path: Path, name: str
) -> None:
    run, settings = copy_run(ready, tmp_path / "run"), recipe(base_folder, "adamw")
    before = signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        stop_in(run, settings, 2, getattr(signal, name))
    finally:
        signal.signal(getattr(signal, name), before)
    assert sorted(p.name for p in (run.train / "stopped").iterdir()) == ["step-000002"]
    train_quietly(run, settings)
    assert everything(run) == never_stopped["adamw"]


def test_the_checkpoint_of_a_stop_is_no_regular_one(ready: RunDir, base_folder: Path, tmp_path: Path) -> None:
    run, settings = copy_run(ready, tmp_path / "run"), recipe(base_folder, "adamw")
    stop_in(run, settings, 5)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step-000003"]
    assert sorted(p.name for p in (run.train / "stopped").iterdir()) == ["step-000005"]
    train_quietly(run, settings)
    assert not (run.train / "stopped").exists()
