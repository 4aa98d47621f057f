"""Judges the weights while they are trained: held-out loss, candidates, early stop, means of checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from veneer import processes
from veneer.config import TrainTable
from veneer.events import OnEvent, ValidationEvent
from veneer.records.candidates import Candidate, Candidates, WeightsKind
from veneer.records.run import ADAPTER_FILE, RunDir
from veneer.training import checkpoints
from veneer.training.network import Files, Network
from veneer.training.optimizers import OptimizerAndSchedule
from veneer.training.previews import Style
from veneer.training.validation import Validator


@dataclass
class Evaluator:
    """Keeps the candidates of a run.

    Attributes:
        optimizer: Its optimizer, which may hold other weights for training than for judging.
        validator: Measures the held-out loss.
        style: Measures the style, where that chooses the result; None otherwise.
        on_event: Told of every held-out loss.
        record: What was found out so far.
    """

    run: RunDir
    settings: TrainTable
    network: Network
    optimizer: OptimizerAndSchedule
    validator: Validator
    style: Style | None
    on_event: OnEvent
    record: Candidates = field(default_factory=Candidates)

    def validate(self, step: int, ema: Sequence[Tensor]) -> None:
        """Judge the weights as they are, and their moving average; decide whether to stop.

        Args:
            step: Optimizer step, 0 for the base.
            ema: Moving average of each parameter; empty where there is none.
        """
        had = self.record.best
        with self.optimizer.evaluating():
            self._evaluator(step, "step", self.network.state())
        if ema and step:
            with self.network.holding(ema):
                self._evaluator(step, "ema", self.network.state())
        if step and self.record.best is not None:
            self.record.without_gain = 0 if self.record.best is not had else self.record.without_gain + 1
            self._stop_in_time(step)

    def finish(self, step: int) -> None:
        """Judge the mean of the last checkpoints where the recipe asks for it, and write candidates.json."""
        if self.settings.average_last and not any(c.kind == "average" for c in self.record.candidates):
            self._judge_average(step, self.settings.average_last)
        if processes.is_main_process():
            self._prune()
            found = self.record.finished(self.settings.choose, self.validator.pictures)
            found.write(self.run.candidates_json)
        processes.wait_for_everyone()

    def resume(self, plain: dict[str, Any]) -> None:
        """Put back what a checkpoint holds; where `patience` was raised since, training goes on.

        Args:
            plain: The record as plain data.
        """
        self.record = Candidates.model_validate(plain)
        self.record.stopped = None
        self._stop_in_time(max((c.step for c in self.record.candidates), default=0))

    def start_over(self) -> None:
        """Forget every candidate but the base."""
        self.record = Candidates(base=self.record.base)

    def _stop_in_time(self, step: int) -> None:
        patience = self.settings.patience
        if patience is not None and self.record.without_gain >= patience:
            reason = f"the held-out loss did not fall in {patience} validations, up to step {step}"
            self.record.stopped = reason

    def _evaluator(self, step: int, kind: WeightsKind, files: Files) -> None:
        measured = self.validator.measure()
        numbers = {} if measured is None else asdict(measured)
        style = None if self.style is None else self.style()
        candidate = Candidate(step=step, kind=kind, **({"loss": None} | numbers), style=style)
        best = False
        if step == 0:
            self.record.base = candidate
        else:
            best = self.record.add(candidate)
            self._keep(candidate, best, files)
        if measured is not None:
            self.on_event(ValidationEvent(step, kind, measured.loss, best))

    def _keep(self, candidate: Candidate, best: bool, files: Files) -> None:
        path = self.run.checkpoint(candidate.step)
        if best:
            path = self.run.kept_candidates / f"{candidate.kind}-{candidate.step:06d}"
            if processes.is_main_process():
                checkpoints.save(path, candidate.step, files, {})
            processes.wait_for_everyone()
        elif candidate.kind != "step":
            return
        name = (path / ADAPTER_FILE).relative_to(self.run.root).as_posix()
        self.record.candidates[-1] = candidate.model_copy(update={"path": name})

    def _judge_average(self, step: int, count: int) -> None:
        steps = checkpoints.saved_steps(self.run.checkpoints)[-count:]
        files = [checkpoints.load(self.run.checkpoint(saved)).tensors for saved in steps]
        own = self.network.state()
        mean = {
            file: {name: torch.stack([f[file][name] for f in files]).mean(0) for name in tensors}
            for file, tensors in own.items()
        }
        self.network.load(mean)
        self._evaluator(step, "average", mean)
        self.network.load(own)

    def _prune(self) -> None:
        chosen = self.record.chosen(self.settings.choose)[0]
        for folder in (self.run.kept_candidates).glob("*"):
            if chosen is None or chosen.path is None or (self.run.root / chosen.path).parent != folder:
                shutil.rmtree(folder)
        self.record.forget_missing(self.run.root)
