"""Several processes train as one does, and stop together."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pocket import processes, training

STEPS = 4


def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    train_child(0, tmp_path / "one")
    in_two_processes(train_child, tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "checkpoint.pt")["model"] for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-7) for name in one)


def test_all_stop_when_one_is_asked_to(tmp_path: Path) -> None:
    in_two_processes(stop_child, tmp_path)
    assert [(tmp_path / f"{rank}").read_text() for rank in range(2)] == ["2", "2"]


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.dist, "get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="16 samples a step cannot be shared by 3 processes"):
        processes.own_share(torch.zeros(16, 4))


def train_child(rank: int, folder: Path) -> None:
    torch.manual_seed(rank)  # their own random numbers may differ, those of a step may not
    model = nn.Linear(4, 4)
    nn.init.constant_(model.weight, 0.1)
    nn.init.zeros_(model.bias)
    trainee = training.Trainee(folder, model, training.adamw(list(model.parameters())), 0.9)

    def step_loss(step: int) -> Tensor:
        inputs = torch.randn(16, 4, generator=training.step_generator("test", step))
        inputs = processes.own_share(inputs)
        return (model(inputs) - inputs.flip(1)).square().mean()

    training.train(trainee, step_loss, lambda step: 1e-2, training.Budget(STEPS), batch=16)


def stop_child(rank: int, folder: Path) -> None:
    steps = 0
    while not processes.agreed(steps == (2 if rank else 5)):
        steps += 1
    (folder / str(rank)).write_text(str(steps))


def in_process(rank: int, port: int, target, folder: Path) -> None:
    """What torchrun does: the environment of one of two processes."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes.join()
    target(rank, folder)
    processes.leave()


def in_two_processes(target, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=in_process, args=(rank, port, target, folder)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
