"""One training loop for every part: resumable, timed, logged. Imported by ``train_*.py``.

Randomness is a function of (seed, purpose, step), so a run that was killed and started again ends
with the same weights as one never killed. Checkpoints are written under a temporary name, forced
to disk and renamed. SIGTERM and Ctrl-C save first.
"""

import json
import os
import signal
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from veneer.launch import is_main_process, num_processes, share_numbers, sum_in_place, wait_for_everyone
from veneer.versions import has_bf16_instructions

from .config import SEED

LOG_EVERY_STEPS = 20
SAVE_EVERY_SECONDS = 90.0
MAX_GRAD_NORM = 1.0


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


@dataclass
class Trainee:
    """What one training changes, and where it is kept.

    Attributes:
        folder: Holds ``checkpoint.pt`` and ``log.jsonl``.
        model: Trained, in float32.
        optimizer: Over the parameters that train; None for a start that was not trained here.
        ema_decay: Highest decay of the moving average.
        ema: Moving average of the model.
        step: Steps done.
        seconds: Seconds spent.
    """

    folder: Path
    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    ema_decay: float
    ema: nn.Module = field(init=False)
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ema = deepcopy(self.model).requires_grad_(False).eval()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; of several processes the first does."""
        if not is_main_process():
            return
        partial = self.folder / "checkpoint.pt.partial"
        with partial.open("wb") as file:
            torch.save(self._state(), file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Take up the checkpoint, if there is one."""
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move the average towards the model; faster at the start."""
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = [
            (a, b)
            for a, b in zip(self.ema.parameters(), self.model.parameters(), strict=False)
            if b.requires_grad
        ]
        torch._foreach_lerp_([a for a, _ in pairs], [b.detach() for _, b in pairs], 1 - decay)
        for ours, theirs in zip(self.ema.buffers(), self.model.buffers(), strict=False):
            ours.copy_(theirs)

    def _state(self) -> dict:
        parts = {"model": self.model, "ema": self.ema, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items() if part is not None} | {
            "step": self.step,
            "seconds": self.seconds,
        }


def train(
    trainee: Trainee,
    step_loss: Callable[[int], Tensor],
    learning_rate: Callable[[int], float],
    budget: Budget,
    batch: int,
) -> None:
    """Train from the last checkpoint until the budget is spent.

    Several processes draw alike; each computes the loss of its own share and steps by the mean of all
    gradients, so their weights stay equal. All stop when one is asked to.

    Args:
        trainee: What trains; changed in place.
        step_loss: The loss of a step, scalar; random only by the step number.
        learning_rate: The rate of a step.
        budget: When to stop.
        batch: Samples per step, for the log.
    """
    wait_for_everyone()  # this meets the others before the first sum
    trainee.resume()
    trainee.model.train()
    parameters = [p for group in trainee.optimizer.param_groups for p in group["params"]]
    clock, losses = _Clock(trainee), []
    while not _anyone(budget.is_spent(trainee.step, clock.seconds()) or clock.is_asked_to_stop):
        for group in trainee.optimizer.param_groups:
            group["lr"] = learning_rate(trainee.step)
        with quick_attention():
            loss = step_loss(trainee.step)
            loss.backward()
        _average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        trainee.optimizer.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        trainee.step += 1
        trainee.update_ema()
        losses.append(loss.detach())
        if trainee.step % LOG_EVERY_STEPS == 0 and is_main_process():
            _log(trainee, clock, losses, batch)
            losses = []
        if clock.is_time_to_save():
            trainee.save()
    trainee.seconds = clock.seconds()
    trainee.save()


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


def _anyone(wishes: bool) -> bool:
    """Whether any process wishes it; all get the same answer."""
    return share_numbers([float(wishes)])[0] > 0


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sum_in_place(gradients)
    if num_processes() > 1:
        torch._foreach_div_(gradients, num_processes())


def _log(trainee: Trainee, clock: _Clock, losses: list[Tensor], batch: int) -> None:
    line = {
        "step": trainee.step,
        "samples": trainee.step * batch,
        "seconds": round(clock.seconds(), 1),
        "loss": round(torch.stack(losses).mean().item(), 5),
        "lr": trainee.optimizer.param_groups[0]["lr"],
    }
    with (trainee.folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def step_generator(purpose: str, step: int) -> torch.Generator:
    """The random numbers of one step of one training."""
    key = f"{SEED} {purpose} {step}".encode()
    return torch.Generator().manual_seed(zlib.crc32(key) + (zlib.adler32(key) << 32))


def adamw(parameters: list[nn.Parameter], weight_decay: float = 0.01) -> torch.optim.AdamW:
    """The optimizer of every part; matrices decay, vectors do not."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=(0.9, 0.98), fused=True)


def planned_rate(peak: float, num_warmup_steps: int, budget: Budget) -> Callable[[int], float]:
    """A rate that rises to its peak, stays, and falls at the end where the budget says so.

    A training can go on after it fell: with more steps the rate is the peak again.
    """

    def rate(step: int) -> float:
        rising = min(1.0, (step + 1) / num_warmup_steps)
        if budget.num_steps is None or not budget.num_decay_steps:
            return peak * rising
        return peak * rising * min(1.0, (budget.num_steps - step) / budget.num_decay_steps)

    return rate


def training_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def low_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for what allows it, where the machine has it; other CPUs are a hundred times slower so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=low_dtype(device) == torch.bfloat16)


def low_dtype(device: torch.device) -> torch.dtype:
    """The shortest numbers that the device is quick with."""
    has_bf16 = device.type != "cpu" or has_bf16_instructions()
    return torch.bfloat16 if has_bf16 else torch.float32


def quick_attention() -> AbstractContextManager:
    """On a CPU plain attention trains three times as fast as the flash kernel."""
    return nullcontext() if torch.cuda.is_available() else sdpa_kernel(SDPBackend.MATH)


def prepare_torch() -> None:
    """Settings of every training: denormal numbers are slow on CPUs, so they become zero."""
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(SEED)
