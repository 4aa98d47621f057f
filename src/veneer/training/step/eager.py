"""One optimizer step: passes over its micro-batches, then clipping, the optimizer, and the moving average.

Nothing here reads a number from the device, but for optimizers that cannot skip a step by themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from veneer.training.batches import MicroBatch
from veneer.training.losses import Loss
from veneer.training.optimizers import Gradients, OptimizerAndSchedule


@dataclass(frozen=True)
class Work:
    """What a step works on.

    Attributes:
        loss: The loss of a micro-batch.
        autocast: Makes the context of mixed precision.
        gradients: Where the passes add up.
        scaler: The loss scaler of fp16; disabled otherwise.
        weights: What is trained.
        ema: Moving average of each weight; empty where there is none.
        ema_gain: Share of the way to the weights that the average goes in this step, 0-dimensional, on the
            device.
        max_grad_norm: Largest L2 norm of all gradients together.
    """

    loss: Loss
    autocast: Callable[[], contextlib.AbstractContextManager[None]]
    gradients: Gradients
    optimizer: OptimizerAndSchedule
    scaler: torch.amp.GradScaler
    weights: list[Tensor]
    ema: list[Tensor]
    ema_gain: Tensor
    max_grad_norm: float


def ema_decay_at(step: int, decay: float) -> float:
    """Decay of the moving average in a step: it starts low, so that the average soon forgets the start.

    Args:
        step: Optimizer step, from 1.
        decay: What it rises to.

    Source: TensorFlow's ExponentialMovingAverage (num_updates), as the field has it.
    """
    return min(decay, (1 + step) / (10 + step))


class Step:
    """Does a step one operation after the other."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def accumulate(self, batches: Sequence[MicroBatch], parts: int) -> None:
        """Start a step, and add up the gradients and the loss of its micro-batches.

        Args:
            batches: This process's micro-batches.
            parts: Pieces that each is cut into.
        """
        self._work.gradients.zero()
        for batch in batches:
            for part in batch.split(parts):
                self._pass(part)

    def finish(self, *, is_asked: bool) -> Tensor:
        """Change the weights by what all processes have added up; not where that is no number.

        Args:
            is_asked: Whether this process was asked to stop.

        Returns:
            Loss, gradient norm before and after clipping, and the number of processes asked to stop; shape
            (4,), on the device.
        """
        self._work.gradients.flag.add_(float(is_asked))
        self._work.gradients.sum_over_processes()
        return self._update()

    def forget(self) -> None:
        """Let go of everything that was made for the state or the memory as they were."""

    def _pass(self, part: MicroBatch) -> None:
        work = self._work
        with work.autocast():
            loss = work.loss(part)
        work.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        work.gradients.loss.add_(loss.detach())

    def _update(self) -> Tensor:
        work = self._work
        work.scaler.unscale_(work.optimizer.optimizer)
        before, after = work.gradients.clip(work.max_grad_norm)
        self._apply(before)
        if work.ema:
            way = torch._foreach_sub(work.weights, work.ema)
            torch._foreach_mul_(way, work.ema_gain)
            torch._foreach_add_(work.ema, way)
        return torch.stack([work.gradients.loss, before, after, work.gradients.flag])

    def _apply(self, norm: Tensor) -> None:
        work, optimizer = self._work, self._work.optimizer.optimizer
        is_good = torch.isfinite(norm + work.gradients.loss)
        if work.scaler.is_enabled():
            work.scaler.step(optimizer)
            work.scaler.update()
        elif work.optimizer.skips_on_device:
            optimizer.found_inf = (~is_good).float()
            optimizer.step()
        elif bool(is_good):
            optimizer.step()
