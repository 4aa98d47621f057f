"""Several processes train as one does, and stop together."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pocket import training
from pocket.__main__ import main
from pocket.device import step_generator
from pocket.muon import muon
from pocket.processes import start_process
from pocket.sources import RecipeError
from pocket.stages import PRELOADED
from pocket.train_unet import UnetBatch
from pocket.trainee import Trainee
from veneer.processes import shard, wait_for_everyone

STEPS = 4


def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    train_child(0, tmp_path / "one")
    in_two_processes(train_child, tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "checkpoint.pt")["model"] for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-7) for name in one)


def test_all_stop_when_one_is_asked_to(tmp_path: Path) -> None:
    in_two_processes(stop_child, tmp_path)
    assert [(tmp_path / f"{rank}").read_text() for rank in range(2)] == ["2", "2"]


def test_the_shares_of_all_processes_make_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = UnetBatch(*(torch.arange(6) for _ in range(5)))
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(batch.shared().timesteps)
    assert [len(share) for share in shares] == [2, 2, 2]
    assert sorted(torch.cat(shares).tolist()) == list(range(6))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RecipeError, match="6 samples a step cannot be shared by 4 processes"):
        batch.shared()


def test_only_the_unet_trains_in_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["pocket", "layout"])
    assert main() == 1
    assert "layout runs in one process" in capsys.readouterr().err


def train_child(rank: int, folder: Path) -> None:
    torch.manual_seed(rank)  # their own random numbers may differ, those of a step may not
    model = nn.Linear(4, 4)
    nn.init.constant_(model.weight, 0.1)
    nn.init.zeros_(model.bias)
    trainee = Trainee(folder, model, muon(model, ("weight",)), 0.9)

    def make_batch(step: int) -> tuple[Any]:
        inputs: Any = torch.randn(16, 4, generator=step_generator("test", step))
        return (shard(inputs),)

    def loss(inputs: Tensor) -> Tensor:
        return (model(inputs) - inputs.flip(1)).square().mean()

    training.train(trainee, make_batch, loss, lambda step, seconds: 1e-2, training.Budget(STEPS))


def stop_child(rank: int, folder: Path) -> None:
    steps = 0
    wait_for_everyone()
    while not training._anyone(steps == (2 if rank else 5)):
        steps += 1
    (folder / str(rank)).write_text(str(steps))


def in_process(rank: int, port: int, target: Callable[..., None], folder: Path) -> None:
    """What torchrun does: the environment of one of two processes."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    target(rank, folder)


def in_two_processes(target: Callable[..., None], folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    works = [(rank, port, target, folder) for rank in range(2)]
    children = [start_process("a rank", in_process, work, PRELOADED) for work in works]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
