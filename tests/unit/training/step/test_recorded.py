"""Recorded steps of one small layer, with fp16's loss scale; the stage's tests have the rest."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import nn

from helpers.tape import Recorder
from veneer.config import TrainTable
from veneer.events import OnEvent, ignore
from veneer.training.batches import MicroBatch
from veneer.training.optimizers import Gradients, build_optimizer
from veneer.training.step.eager import Step, Work
from veneer.training.step.recorded import StaticStep

BAD = 3


def batch(seed: int) -> MicroBatch:
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    nothing = torch.zeros(4, dtype=torch.int64)
    return MicroBatch(
        latents, latents, latents, nothing, {"text": torch.zeros(4, 7, 6)}, torch.full((4,), 0.25)
    )


def work_on(layer: nn.Linear) -> Work:
    parameters = list(layer.parameters())
    optimizer = build_optimizer(
        dict(layer.named_parameters()), TrainTable(learning_rate=0.1), torch.device("cpu"), ignore
    )
    return Work(
        loss=lambda one: (layer(one.latents).square().mean(dim=(1, 2, 3)) * one.weights).sum(),
        autocast=contextlib.nullcontext,
        gradients=Gradients(parameters),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler("cpu", init_scale=1024, growth_interval=2),
        weights=[parameter.data for parameter in parameters],
        ema=[],
        ema_gain=torch.zeros(()),
        max_grad_norm=1.0,
    )


def steps(kind: str, recorder: Recorder) -> list[list[float]]:
    """Numbers of every step: what it gives, the scale after it, and a weight."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    work = work_on(layer)
    step = (
        Step(work)
        if kind == "plain"
        else StaticStep(work, recorder, lambda: None, cast(OnEvent, pytest.fail))
    )
    seen = []
    for number in range(1, 8):
        work.optimizer.set_rate(number, 1.0)
        one = batch(seed=number)
        if number == BAD:
            one = replace(one, weights=one.weights * math.inf)
        step.accumulate([one], 2)
        values = step.finish(is_asked=number == 5).tolist()
        seen.append([*values, work.scaler.get_scale(), float(layer.weight.detach()[0, 0])])
    return seen


def test_the_loss_scale_lives_in_the_recording() -> None:
    recorder = Recorder()
    plain, played = steps("plain", recorder), steps("played", recorder)
    assert recorder.plays == 7 * 3
    for mine, yours in zip(played, plain, strict=True):
        assert mine == pytest.approx(yours, rel=1e-5, nan_ok=True)
    scales = [row[4] for row in played]
    assert scales == [1024, 2048, 1024, 1024, 2048, 2048, 4096]
    assert played[BAD - 1][5] == played[BAD - 2][5] != played[BAD][5]
    assert [row[3] for row in played] == [0, 0, 0, 0, 1, 0, 0]
