"""Everything that moves while training, read out for a checkpoint and put back to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from veneer.training.checkpoints import State, pack, unpack
from veneer.training.network import Files, Network
from veneer.training.optimizers import OptimizerAndSchedule


@dataclass(frozen=True)
class TrainingState:
    """Weights, optimizer, loss scaler and moving average.

    Attributes:
        scaler: The loss scaler of fp16; disabled otherwise.
        ema: Moving average of each parameter; empty where there is none.
    """

    network: Network
    optimizer: OptimizerAndSchedule
    scaler: torch.amp.GradScaler
    ema: Sequence[Tensor]

    def read_out(self) -> tuple[Files, State]:
        """Read out.

        Returns:
            Tensors by file and name, and the rest as plain data.
        """
        tensors: dict[str, Tensor] = {}
        optimizer = pack(self.optimizer.state(), tensors)
        with self.optimizer.evaluating():
            files = self.network.state()
        files["optimizer"] = tensors
        if self.optimizer.steps_elsewhere:
            files["stepping"] = {str(number): w.clone() for number, w in enumerate(self.optimizer.weights)}
        if self.ema:
            files["ema"] = dict(zip(self.network.parameters, (t.clone() for t in self.ema), strict=True))
        return files, {"optimizer": optimizer, "scaler": self.scaler.state_dict()}

    def put_back(self, files: Mapping[str, Mapping[str, Tensor]], state: State) -> None:
        """Put back what `read_out` gave.

        Args:
            files: Tensors by file and name.
            state: The rest.
        """
        self.network.load(files)
        self.optimizer.load(unpack(state["optimizer"], files["optimizer"]))
        if self.optimizer.steps_elsewhere:
            self.optimizer.optimizer.train()
            for number, weight in enumerate(self.optimizer.weights):
                weight.copy_(files["stepping"][str(number)])
        self.scaler.load_state_dict(state["scaler"])
        for own, name in zip(self.ema, self.network.parameters, strict=False):
            own.copy_(files["ema"][name])
