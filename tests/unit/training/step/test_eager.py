"""The moving average: it follows closely at first, and is hardly untrained after a few hundred steps."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from veneer.config import TrainTable
from veneer.events import ignore
from veneer.training.optimizers import Gradients, build_optimizer
from veneer.training.step.eager import Step, Work, ema_decay_at


def test_the_average_warms_up_to_its_decay() -> None:
    decays = [ema_decay_at(step, 0.9) for step in range(1, 200)]
    assert decays[0] == pytest.approx(2 / 11)
    assert decays == sorted(decays)
    assert decays[-1] == 0.9


def test_a_long_average_is_hardly_untrained_after_240_steps() -> None:
    """With 0.999 from the first step on, four fifths of it would be the start."""
    untrained = 1.0
    for step in range(1, 241):
        untrained *= ema_decay_at(step, 0.999)
    assert untrained < 1e-6


def test_a_step_moves_the_average_by_its_gain() -> None:
    layer = nn.Linear(2, 2)
    parameters = list(layer.parameters())
    weights = [parameter.data for parameter in parameters]
    ema = [weight.clone() for weight in weights]
    before = [weight.clone() for weight in weights]
    work = Work(
        loss=lambda part: torch.tensor(0.0),
        autocast=contextlib.nullcontext,
        gradients=Gradients(parameters),
        optimizer=build_optimizer(dict(layer.named_parameters()), TrainTable(), torch.device("cpu"), ignore),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        weights=weights,
        ema=ema,
        ema_gain=torch.tensor(0.25),
        max_grad_norm=1.0,
    )
    work.gradients.everything.fill_(1.0)
    Step(work).finish(is_asked=False)
    for own, start, end in zip(ema, before, weights, strict=True):
        assert torch.allclose(own, start + 0.25 * (end - start))
        assert not torch.equal(end, start)
