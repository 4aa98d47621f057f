"""One training loop for every part: resumable, timed, logged. Imported by ``train_*.py``.

Randomness is a function of (seed, purpose, step), so a run that was killed and started again ends
with the same weights as one never killed, unless the clock sets its rate. SIGTERM and Ctrl-C save first.
"""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor

from veneer.processes import is_main_process, num_processes, share_numbers, wait_for_everyone

from .sources import StoppedError
from .stepping import Batch, BatchLoss, choose_step
from .telling import tell
from .trainee import Trainee

LOG_EVERY_STEPS = 20
TELL_EVERY_SECONDS = 10.0
SAVE_EVERY_SECONDS = 90.0
SHARE_WARMUP, SHARE_DECAY = 0.02, 0.45
"""Parts of a budget of seconds in which the rate rises and falls."""


@dataclass(frozen=True)
class Budget:
    """When to stop: whichever comes first; None never comes.

    Attributes:
        num_steps: Step at which the training is done, counted over all sessions.
        seconds: Seconds of training, counted over all sessions.
        num_decay_steps: The learning rate falls to zero over so many steps before ``num_steps``.
    """

    num_steps: int | None = None
    seconds: float | None = None
    num_decay_steps: int = 0

    def is_spent(self, step: int, seconds: float) -> bool:
        """Whether the training is done."""
        is_out_of_steps = self.num_steps is not None and step >= self.num_steps
        return is_out_of_steps or (self.seconds is not None and seconds >= self.seconds)


def planned_rate(peak: float, num_warmup_steps: int, budget: Budget) -> Callable[[int, float], float]:
    """The rate by step and seconds: it rises to its peak, stays, and falls at the end.

    A budget of seconds sets it by the clock, from zero to zero. Otherwise steps do, and it falls only where
    the budget says so; such a training can go on after it fell: with more steps the rate is the peak again.
    """

    def rate(step: int, seconds: float) -> float:
        if budget.seconds is not None:
            done = seconds / budget.seconds
            return peak * max(0.0, min(1.0, done / SHARE_WARMUP, (1 - done) / SHARE_DECAY))
        rising = min(1.0, (step + 1) / num_warmup_steps)
        if budget.num_steps is None or not budget.num_decay_steps:
            return peak * rising
        return peak * rising * min(1.0, (budget.num_steps - step) / budget.num_decay_steps)

    return rate


def train(
    trainee: Trainee,
    make_batch: Callable[[int], Batch],
    batch_loss: BatchLoss,
    learning_rate: Callable[[int, float], float],
    budget: Budget,
) -> None:
    """Train from the last checkpoint until the budget is spent.

    Several processes draw alike; each computes the loss of its own share and steps by the mean of all
    gradients, so their weights stay equal. All stop when one is asked to.

    Args:
        trainee: What trains; changed in place.
        make_batch: The tensors that a step learns from, on the device that trains; random only by the step
            number, of the same shapes at every step.
        batch_loss: Loss of these tensors, scalar; draws no random numbers.
        learning_rate: The rate of a step, by its number and by the seconds spent.

    Raises:
        StoppedError: If a signal asked this process to.
    """
    wait_for_everyone()  # this meets the others before the first sum
    trainee.resume()
    trainee.model.train()
    take_step = choose_step(trainee, batch_loss)
    clock = _Clock(trainee)
    log = _Log(trainee, clock, budget)
    while not _anyone(budget.is_spent(trainee.step, clock.seconds()) or clock.is_asked_to_stop):
        rate = learning_rate(trainee.step, clock.seconds())
        trainee.set_step_numbers(rate)
        batch = make_batch(trainee.step)
        loss = take_step(batch)
        trainee.step += 1
        log.add(loss, rate, len(batch[0]))
        if clock.is_time_to_save():
            trainee.save()
    log.close()
    trainee.seconds = clock.seconds()
    trainee.save()
    if clock.is_asked_to_stop:
        raise StoppedError(f"asked to stop at step {trainee.step:,}; saved, and the same command goes on")


class _Clock:
    """Seconds over all sessions, and the wish to stop."""

    def __init__(self, trainee: Trainee) -> None:
        self.trainee, self.began = trainee, time.monotonic() - trainee.seconds
        self.saved = time.monotonic()
        self.is_asked_to_stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.is_asked_to_stop = True

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def is_time_to_save(self) -> bool:
        if time.monotonic() - self.saved < SAVE_EVERY_SECONDS:
            return False
        self.saved = time.monotonic()
        self.trainee.seconds = self.seconds()
        return True


class _Log:
    """Lines of ``log.jsonl``, and now and then one for who looks on; the main process writes them."""

    def __init__(self, trainee: Trainee, clock: _Clock, budget: Budget) -> None:
        self.trainee, self.clock, self.losses, self.num_samples = trainee, clock, [], 0
        self.told_every = min(TELL_EVERY_SECONDS, (budget.seconds or float("inf")) / 4)
        self.began = self.told = (trainee.step, clock.seconds())
        self.loss = float("nan")

    def add(self, loss: Tensor, rate: float, num_samples: int) -> None:
        """Take the loss of a step; every so often the mean is read, and Python waits for the device."""
        self.losses.append(loss)
        self.num_samples = num_samples * num_processes()
        if self.trainee.step % LOG_EVERY_STEPS:
            return
        self._read_losses()
        if not is_main_process():
            return
        self._write(rate)
        if self.clock.seconds() - self.told[1] >= self.told_every:
            self._tell(f"step {self.trainee.step:,}", self.told)
            self.told = (self.trainee.step, self.clock.seconds())

    def close(self) -> None:
        """Say how it ended."""
        self._read_losses()
        steps = self.trainee.step - self.began[0]
        if is_main_process() and steps:
            seconds = self.clock.seconds() - self.began[1]
            self._tell(f"{steps:,} steps of {self.num_samples} in {seconds:.1f} s", self.began)

    def _read_losses(self) -> None:
        if self.losses:
            self.loss = torch.stack(self.losses).mean().item()
        self.losses = []

    def _write(self, rate: float) -> None:
        line = {
            "step": self.trainee.step,
            "samples": self.trainee.step * self.num_samples,
            "seconds": round(self.clock.seconds(), 1),
            "loss": round(self.loss, 5),
            "lr": rate,
        }
        with (self.trainee.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _tell(self, what: str, since: tuple[int, float]) -> None:
        samples = (self.trainee.step - since[0]) * self.num_samples
        pace = samples / max(1e-9, self.clock.seconds() - since[1])
        tell(self.trainee.folder.name, f"{what}, loss {self.loss:.4f}, {pace:,.0f} samples/s")


def _anyone(wishes: bool) -> bool:
    """Whether any process wishes it; all get the same answer."""
    return share_numbers([float(wishes)])[0] > 0
