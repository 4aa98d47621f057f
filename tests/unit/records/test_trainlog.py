"""The training log."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from veneer.records.trainlog import PendingStep, TrainLog


def record(step: int, loss: float = 1.0, asked: float = 0.0) -> PendingStep:
    return PendingStep(step, 1e-3, torch.tensor([loss, 2.0, 1.0, asked]))


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_steps_are_read_together_and_written_once(tmp_path: Path) -> None:
    log = TrainLog(tmp_path / "log.jsonl", 4, writes=True)
    log.add(record(1))
    log.add(record(2, float("nan"), 1.0))
    events, asked = log.read()
    assert [event.step for event in events] == [1, 2]
    assert asked
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1])["loss"] is None
    assert log.read() == ([], False)


def test_cutting_back_keeps_one_line_a_step_and_drops_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = TrainLog(path, 4, writes=True)
    for step in (1, 2, 3):
        log.add(record(step))
    log.read()
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    log.add(record(9))
    log.cut_back(2)
    assert steps(path) == [1, 2]
    assert log.read() == ([], False)


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    log = TrainLog(tmp_path / "log.jsonl", 4, writes=False)
    log.add(record(1))
    log.cut_back(0)
    log.add(record(1))
    assert len(log.read()[0]) == 1
    assert not (tmp_path / "log.jsonl").exists()
