"""The loop: resumed to the byte, stopped by its budget, its rate by steps or by the clock."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pocket import training
from pocket.device import step_generator
from pocket.muon import muon
from pocket.processes import start_process
from pocket.sources import StoppedError
from pocket.stages import PRELOADED
from pocket.trainee import Trainee
from pocket.training import Budget, planned_rate, train


def test_resumed_training_equals_uninterrupted(tmp_path: Path) -> None:
    whole = train_tiny(tmp_path / "whole", 6)
    train_tiny(tmp_path / "halves", 3)
    steps: list[int] = []
    halves = train_tiny(tmp_path / "halves", 6, steps)
    assert steps == [3, 4, 5]
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_killed_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed = start_process("killed", train_and_die, (tmp_path / "killed",), PRELOADED)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "checkpoint.pt")["step"] == 4
    steps: list[int] = []
    whole, resumed = train_tiny(tmp_path / "whole", 6), train_tiny(tmp_path / "killed", 6, steps)
    assert steps == [4, 5]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def train_and_die(folder: Path) -> None:
    training.SAVE_EVERY_SECONDS = 0.0
    train_tiny(folder, 6, dies_at=4)


def train_tiny(
    folder: Path,
    stop: int,
    steps: list[int] | None = None,
    dies_at: int | None = None,
    asked_at: int | None = None,
) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    trainee = Trainee(folder, model, muon(model), 0.9)

    def make_batch(step: int) -> tuple[Tensor]:
        if steps is not None:
            steps.append(step)
        if step == asked_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if step == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return (torch.randn(16, 4, generator=step_generator("test", step)),)

    def loss(inputs: Tensor) -> Tensor:
        return (model(inputs) - inputs).square().mean()

    train(trainee, make_batch, loss, planned_rate(1e-2, 2, Budget()), Budget(stop))
    ours, averaged = model.state_dict(), trainee.ema.state_dict()
    return {f"model.{k}": v for k, v in ours.items()} | {f"ema.{k}": v for k, v in averaged.items()}


def test_training_that_is_asked_to_stop_saves_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="asked to stop at step 4; saved"):
        train_tiny(tmp_path, 6, asked_at=3)
    assert torch.load(tmp_path / "checkpoint.pt")["step"] == 4
    steps: list[int] = []
    train_tiny(tmp_path, 6, steps)
    assert steps == [4, 5]


def test_rate_by_steps_rises_stays_and_falls_where_asked() -> None:
    rate = planned_rate(1.0, 4, Budget(num_steps=100, num_decay_steps=20))
    assert [rate(step, 0.0) for step in (0, 3, 50, 80, 90, 99)] == pytest.approx([0.25, 1, 1, 1, 0.5, 0.05])
    assert planned_rate(1.0, 4, Budget(num_steps=100))(99, 0.0) == 1


def test_rate_by_seconds_follows_the_clock_whatever_the_step() -> None:
    rate = planned_rate(2.0, 4, Budget(seconds=100.0))
    rates = [rate(7, seconds) for seconds in (0.0, 1.0, 2.0, 55.0, 77.5, 100.0, 120.0)]
    assert rates == pytest.approx([0, 1, 2, 2, 1, 0, 0])


def test_a_budget_of_seconds_ends_the_training_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    trainee = Trainee(tmp_path / "vae", model, muon(model), 0.9)
    budget = Budget(seconds=0.3)
    batch = (torch.ones(8, 4),)
    train(
        trainee, lambda step: batch, lambda x: model(x).square().mean(), planned_rate(1e-2, 2, budget), budget
    )
    assert 0.3 <= trainee.seconds < 5 and trainee.step > 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "vae: " in last and f"{trainee.step:,} steps of 8 in" in last and "samples/s" in last


def test_log_counts_samples(tmp_path: Path) -> None:
    train_tiny(tmp_path, 40)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["samples"]) for line in lines] == [(20, 320), (40, 640)]
    assert lines[1]["loss"] < lines[0]["loss"]
