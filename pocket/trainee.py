"""What a training changes, and its checkpoints: written under a temporary name, forced to disk, renamed."""

import os
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from veneer.processes import is_main_process

from .muon import Muon


@dataclass
class Trainee:
    """What one training changes, and where it is kept.

    Attributes:
        folder: Holds ``checkpoint.pt`` and ``log.jsonl``; its name is the training's.
        model: Trained, in float32, already on its device.
        optimizer: Over the parameters that train; None for a start that was not trained here.
        ema_decay: Highest decay of the moving average.
        ema: Moving average of the model.
        ema_share: How far the average moves towards the model in this step, on the model's device.
        step: Steps done.
        seconds: Seconds spent.
    """

    folder: Path
    model: nn.Module
    optimizer: Muon | None
    ema_decay: float
    ema: nn.Module = field(init=False)
    ema_share: Tensor = field(init=False)
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ema = deepcopy(self.model).requires_grad_(False).eval()
        self.ema_share = torch.zeros((), device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

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

    def set_step_numbers(self, rate: float) -> None:
        """Write what differs from step to step where a recorded step reads it; the average starts fast."""
        self.optimizer.rate.fill_(rate)
        self.ema_share.fill_(1 - min(self.ema_decay, (2 + self.step) / (11 + self.step)))

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move the average towards the model."""
        pairs = [
            (a, b)
            for a, b in zip(self.ema.parameters(), self.model.parameters(), strict=True)
            if b.requires_grad
        ]
        ahead = torch._foreach_sub([b.detach() for _, b in pairs], [a for a, _ in pairs])
        torch._foreach_mul_(ahead, self.ema_share)
        torch._foreach_add_([a for a, _ in pairs], ahead)
        for ours, theirs in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            ours.copy_(theirs)

    def _state(self) -> dict:
        parts = {"model": self.model, "ema": self.ema, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items() if part is not None} | {
            "step": self.step,
            "seconds": self.seconds,
        }
