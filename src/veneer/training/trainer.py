"""The training loop and what surrounds it: steps, checkpoints, validation, and what to do about bad numbers.

The loop knows nothing of prediction types or optimizers: those were chosen before (`losses`,
`optimizers`), and everything random comes with the batch (`batches`).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from veneer import machine, processes
from veneer.config import Recipe
from veneer.errors import TrainingError, VeneerError
from veneer.events import CheckpointEvent, Notice, OnEvent, Progress, StepEvent
from veneer.records.candidates import Candidates
from veneer.records.run import RunDir
from veneer.records.trainlog import PendingStep, TrainLog
from veneer.training import STAGE, checkpoints
from veneer.training.checkpoints import Checkpoint
from veneer.training.evaluator import Evaluator
from veneer.training.interrupt import Interruption
from veneer.training.losses import Loss
from veneer.training.network import Files, Network
from veneer.training.optimizers import Gradients, OptimizerAndSchedule
from veneer.training.previews import Preview
from veneer.training.state import TrainingState
from veneer.training.step.eager import Step, Work, ema_decay_at
from veneer.training.step.prefetch import Prefetcher
from veneer.training.step.recorded import choose_step

BAD_STEPS = 3
MAX_RETURNS = 2
READ_EVERY_ON_DEVICE = 10


@dataclass
class BadSteps:
    """What is remembered about bad numbers; part of every checkpoint.

    Attributes:
        bad_in_a_row: Steps without a finite loss or gradient, up to now.
        returns: Times that training went back to a checkpoint.
        parts: Pieces that a micro-batch is cut into, for want of memory.
    """

    bad_in_a_row: int = 0
    returns: int = 0
    parts: int = 1

    @property
    def cut(self) -> float:
        """Factor on the learning rate."""
        return float(0.5**self.returns)


@dataclass(frozen=True)
class TrainerParts:
    """All that the trainer works with, made by `veneer.stages.train`."""

    run: RunDir
    recipe: Recipe
    accelerator: Accelerator
    network: Network
    loss: Loss
    batches: Prefetcher
    optimizer: OptimizerAndSchedule
    judge: Evaluator
    preview: Preview
    interruption: Interruption
    identity: Mapping[str, Any]
    on_event: OnEvent


class Trainer:
    """Trains from wherever the newest checkpoint is.

    Args:
        parts: All that it works with.
    """

    def __init__(self, parts: TrainerParts) -> None:
        self._p = parts
        self._settings = parts.recipe.train
        parameters = list(parts.network.parameters.values())
        weights: list[Tensor] = [parameter.data for parameter in parameters]
        self._gradients = Gradients(parameters)
        self._scaler = torch.amp.GradScaler(
            parts.accelerator.device.type, enabled=self._settings.mixed_precision == "fp16"
        )
        self._ema = [weight.clone() for weight in weights] if self._settings.ema_decay else []
        self._ema_gain = torch.zeros((), device=weights[0].device)
        self._moving = TrainingState(parts.network, parts.optimizer, self._scaler, self._ema)
        self._step = self._choose_step(weights)
        batch = self._settings.train_batch_size * self._settings.gradient_accumulation_steps
        self._log = TrainLog(parts.run.log_jsonl, batch, writes=processes.is_main_process())
        on_cpu = parts.accelerator.device.type == "cpu"
        self._read_every = 1 if on_cpu else READ_EVERY_ON_DEVICE
        self.step = 0
        self.health = BadSteps()
        self._is_concluded = True
        self._evaluator = parts.judge
        self._start = self._state()

    @property
    def record(self) -> Candidates:
        """The candidates so far."""
        return self._evaluator.record

    def train(self) -> None:
        """Train to the last step, or until the held-out loss has not fallen for long.

        Raises:
            TrainingError: If the loss is not a number even after going back, or memory does not suffice.
            RunError: If the disk is full.
            KeyboardInterrupt: If the user asked to stop; the step was finished and saved.
        """
        self._log.cut_back(self.step)
        if self.step == 0:
            self._validate()
            if self._settings.preview_steps is not None:
                self._preview()
        elif not self._is_concluded:
            self._conclude()
        while self.step < self._settings.max_train_steps and self.record.stopped is None:
            self.step += 1
            self._train_step()
            if self._is_read() and self._went_back():
                continue
            self._conclude()

    def finish(self) -> None:
        """Judge the mean of the last checkpoints where the recipe asks for it, and write candidates.json."""
        self._evaluator.finish(self.step)

    def close(self) -> None:
        """Stop what runs beside the loop."""
        self._p.batches.close()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Put back everything that a checkpoint holds.

        Args:
            checkpoint: A verified checkpoint of this recipe.
        """
        self._put_back(checkpoint.tensors, checkpoint.state)
        self.step = checkpoint.step
        self.health = BadSteps(**checkpoint.state["health"])
        self._is_concluded = checkpoint.state["is_concluded"]
        self._evaluator.resume(checkpoint.state["ledger"])

    def _choose_step(self, weights: list[Tensor]) -> Step:
        work = Work(
            loss=self._p.loss,
            autocast=self._p.accelerator.autocast,
            gradients=self._gradients,
            optimizer=self._p.optimizer,
            scaler=self._scaler,
            weights=weights,
            ema=self._ema,
            ema_gain=self._ema_gain,
            max_grad_norm=self._settings.max_grad_norm,
        )
        return choose_step(work, self._p.recipe, self._p.batches.settle, self._p.on_event)

    def _put_back(self, files: Mapping[str, Mapping[str, Tensor]], state: checkpoints.State) -> None:
        self._moving.put_back(files, state)
        self._step.forget()

    def _conclude(self) -> None:
        """Do what is due after a step; it is saved last, so that nothing is owed by a regular checkpoint."""
        if self._is_due(self._settings.validation_steps):
            self._validate()
        if self._is_due(self._settings.preview_steps):
            self._preview()
        self._is_concluded = True
        if self._is_due(self._settings.checkpointing_steps):
            self._save()

    def _is_due(self, every: int | None) -> bool:
        if every is None:
            return False
        is_last = self.step == self._settings.max_train_steps or self.record.stopped is not None
        return is_last or self.step % every == 0

    def _is_read(self) -> bool:
        settings = self._settings
        return any(
            self._is_due(every)
            for every in (self._read_every, settings.validation_steps, settings.checkpointing_steps)
        )

    def _train_step(self) -> None:
        rate = self._p.optimizer.set_rate(self.step, self.health.cut)
        self._ema_gain.fill_(1 - ema_decay_at(self.step, self._settings.ema_decay))
        self._accumulate()
        values = self._step.finish(is_asked=self._p.interruption.is_asked)
        self._log.add(PendingStep(self.step, rate, values))

    def _accumulate(self) -> None:
        while True:
            try:
                self._step.accumulate(self._p.batches.at(self.step), self.health.parts)
                return
            except RuntimeError as error:
                if not machine.is_out_of_memory(error):
                    raise
                self._halve(error)
            self._step.forget()
            machine.hand_back_memory()  # only now is the failed pass forgotten with its error

    def _halve(self, error: RuntimeError) -> None:
        share = -(-self._settings.train_batch_size // processes.num_processes())
        if self.health.parts >= share:
            raise TrainingError(
                f"not enough memory for one picture: {str(error).splitlines()[0]}",
                where=f"step {self.step}",
                todo="Set train.gradient_checkpointing = true, or a lower encode.resolution",
            ) from error
        self.health.parts *= 2
        parts = f"micro-batches are cut into {self.health.parts} parts, with the same effective batch"
        self._notify("out-of-memory", f"not enough memory at step {self.step}: {parts}")

    def _went_back(self) -> bool:
        events, is_asked = self._log.read()
        for event in events:
            self._p.on_event(event)
            self._p.on_event(Progress(STAGE, event.step, f"loss {event.loss:.4f}"))
            self._watch(event)
            if self.health.bad_in_a_row >= BAD_STEPS:
                self._go_back(event)
                return True
        if is_asked:
            self._save_stopped()
            raise KeyboardInterrupt
        return False

    def _watch(self, event: StepEvent) -> None:
        is_scaling = self._scaler.is_enabled() and self._scaler.get_scale() > 1
        if math.isfinite(event.loss) and (math.isfinite(event.grad_norm) or is_scaling):
            self.health.bad_in_a_row = 0
            return
        self.health.bad_in_a_row += 1
        self._notify(
            "not-a-number", f"the loss or its gradient is no number at step {event.step}: not applied"
        )

    def _go_back(self, event: StepEvent) -> None:
        if self.health.returns == MAX_RETURNS:
            raise TrainingError(
                f"the loss is no number {BAD_STEPS} steps in a row, after going back {MAX_RETURNS} times",
                where=f"step {event.step}",
                todo='Lower train.learning_rate, or set train.mixed_precision = "no"',
            )
        checkpoint = checkpoints.load_newest([self._p.run.checkpoints], self._p.on_event)
        returns, parts, events = self.health.returns + 1, self.health.parts, self.record.events
        if checkpoint is None:
            self._put_back(*self._start)
            self.step = 0
            self._evaluator.start_over()
        else:
            self.resume(checkpoint)
        self.health = BadSteps(returns=returns, parts=parts)
        self.record.events = events
        self._log.cut_back(self.step)
        where = f"back to step {self.step}, with the learning rate times {self.health.cut}"
        self._notify("went-back", f"{BAD_STEPS} bad steps in a row at step {event.step}: {where}")

    def _notify(self, code: str, message: str) -> None:
        self.record.tell(self.step, code, message)
        self._p.on_event(Notice(STAGE, code, message))

    def _validate(self) -> None:
        self._evaluator.validate(self.step, self._ema)
        self._log.skip_time()

    def _preview(self) -> None:
        """Draw a preview, or tell why there is none: training goes on as if it had been drawn."""
        try:
            with self._p.optimizer.evaluating():
                self._with_room(lambda: self._p.preview(self.step))
        except (VeneerError, RuntimeError) as error:
            if not isinstance(error, VeneerError) and not machine.is_out_of_memory(error):
                raise
            why = str(error).splitlines()[0]
            self._p.on_event(Notice(STAGE, "no-preview", f"no preview at step {self.step}: {why}"))
        self._log.skip_time()

    def _with_room(self, work: Callable[[], None]) -> None:
        """Do something; where memory does not suffice, once more without what the steps keep of it."""
        try:
            return work()
        except RuntimeError as error:
            if not machine.is_out_of_memory(error):
                raise
        self._step.forget()
        machine.hand_back_memory()
        return work()

    def _save(self) -> None:
        self._write(self._p.run.checkpoint(self.step))
        if processes.is_main_process():
            limit = self._settings.checkpoints_total_limit
            if limit is not None:
                checkpoints.rotate(self._p.run.checkpoints, max(limit, self._settings.average_last), ())
            shutil.rmtree(self._p.run.stopped, ignore_errors=True)

    def _save_stopped(self) -> None:
        """Save for an interruption: aside from the regular checkpoints, which are averaged and counted."""
        self._is_concluded = False
        path = checkpoints.path_of(self._p.run.stopped, self.step)
        self._write(path)
        if processes.is_main_process():
            checkpoints.rotate(self._p.run.stopped, 1, ())

    def _write(self, path: Path) -> None:
        state = self._state()
        if processes.is_main_process():
            checkpoints.save(path, self.step, *state)
        processes.wait_for_everyone()
        self._log.skip_time()
        self._p.on_event(CheckpointEvent(self.step, path))

    def _state(self) -> tuple[Files, checkpoints.State]:
        files, plain = self._moving.read_out()
        plain |= {
            "identity": dict(self._p.identity),
            "health": asdict(self.health),
            "is_concluded": self._is_concluded,
            "ledger": self.record.model_dump(),
        }
        return files, plain
