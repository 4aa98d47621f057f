"""Optimizers from their own packages, parameter groups, and diffusers' learning-rate schedules.

The learning rate is a pure function of the step, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from veneer.config import Optimizer, TrainTable
from veneer.errors import RecipeError, RunError
from veneer.events import Notice, OnEvent
from veneer.patterns import pattern
from veneer.processes import sum_in_place
from veneer.training.network import WORD

Schedule = Callable[[int], float]
RESTARTS = 3
"""Cycles of `cosine_with_restarts`."""
SMALLEST_8BIT = 4096
"""Numbers from which bitsandbytes keeps a weight's moments in 8 bits."""
NO_DECAY = ("lora_magnitude_vector", WORD)
"""Parts of the names of weights for which zero is not "no change"."""
FUSED_ON = {"cpu", "cuda"}
"""Devices with an AdamW of one kernel."""


@dataclass(frozen=True)
class OptimizerAndSchedule:
    """An optimizer with its schedule.

    Attributes:
        optimizer: The optimizer; every group holds its peak rate as ``initial_lr``.
        schedule: Factor on the peak rates, by step from 0.
        skips_on_device: Whether the optimizer itself skips a step that a device flag marks, with no wait for
            it.
        is_recordable: Whether its step can do without looking at any value.
    """

    optimizer: Any
    schedule: Schedule
    skips_on_device: bool
    is_recordable: bool = False

    @property
    def steps_elsewhere(self) -> bool:
        """Whether steps are taken from other weights than those that are judged."""
        return hasattr(self.optimizer, "eval")

    @property
    def weights(self) -> list[Tensor]:
        """What is trained, in the optimizer's order."""
        return [parameter.data for group in self.optimizer.param_groups for parameter in group["params"]]

    def set_rate(self, step: int, cut: float) -> float:
        """Set the learning rates of a step.

        Args:
            step: Optimizer step, from 1.
            cut: Further factor, 1 unless training went back to a checkpoint.

        Returns:
            The first group's rate.
        """
        factor = self.schedule(step - 1) * cut
        for group in self.optimizer.param_groups:
            rate = group["initial_lr"] * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        return float(self.optimizer.param_groups[0]["initial_lr"] * factor)

    def held_still(self) -> OptimizerAndSchedule | None:
        """Keep the rates on the device, so that a step is the same work each time, whatever they are.

        Returns:
            The same optimizer, which now skips on the device; None where it cannot do without the host.
        """
        if not self.is_recordable:
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=group["params"][0].device)
            group["capturable"] = True
        self.optimizer._warned_capturable_if_run_uncaptured = True  # warming up is no mistake
        return replace(self, skips_on_device=True)

    def state(self) -> dict[str, Any]:
        """Read out the optimizer, the same whether it is held still or not.

        Returns:
            Its state dict, with rates as plain numbers.
        """
        state: dict[str, Any] = self.optimizer.state_dict()
        groups = state["param_groups"]
        plain = [group | {"lr": float(group["lr"])} for group in groups]
        for group in plain:
            if "capturable" in group:
                group["capturable"] = False
        return state | {"param_groups": plain}

    def load(self, state: dict[str, Any]) -> None:
        """Put back what `state` read out; what is held still remains so."""
        held = [
            {k: group[k] for k in ("lr", "capturable") if k in group} for group in self.optimizer.param_groups
        ]
        if len(state["param_groups"]) != len(self.optimizer.param_groups):
            raise RunError(
                "the checkpoint's optimizer sorts the weights otherwise: an earlier version made it",
                where="train/checkpoints",
                todo="Train in another run folder, or remove RUN/train to start over",
            )
        self.optimizer.load_state_dict(state)
        for group, own in zip(self.optimizer.param_groups, held, strict=True):
            if isinstance(own["lr"], Tensor):
                group.update(own)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Weights as they should be judged and saved; only schedule-free optimizers keep others for training.

        Training goes on from the very bits that it had: to switch there and back would round them twice.
        """
        if not self.steps_elsewhere:
            yield
            return
        weights = self.weights
        own = [weight.clone() for weight in weights]
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()
            torch._foreach_copy_(weights, own)


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], train: TrainTable, device: torch.device, on_event: OnEvent
) -> OptimizerAndSchedule:
    """Build the optimizer and the schedule of a recipe.

    Args:
        parameters: What is trained, by name.
        device: Where the parameters are.

    Raises:
        RecipeError: If the optimizer's package is not installed, or a pattern of `learning_rates` fits
            nothing.
    """
    groups = parameter_groups(parameters, train)
    optimizer = _optimizer(groups, train, device)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    _notify_small(parameters.values(), train, on_event)
    if hasattr(optimizer, "train"):
        optimizer.train()
    is_fused = train.optimizer == "adamw" and device.type in FUSED_ON
    return OptimizerAndSchedule(optimizer, schedule_of(train), is_fused and device.type == "cuda", is_fused)


def parameter_groups(parameters: Mapping[str, nn.Parameter], train: TrainTable) -> list[dict[str, Any]]:
    """Sort parameters by their learning rate, and by whether their weights decay.

    A LoRA's matrices decay to no change. A magnitude of DoRA or a learnt word that decays to zero changes
    more and more: those are let be.

    Args:
        parameters: What is trained, by name.

    Returns:
        Groups for an optimizer; the order of the parameters within them is that of the mapping.

    Raises:
        RecipeError: If a pattern of `learning_rates` fits no parameter.

    Source: LoRA+: Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models", section 3.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in parameters.items():
        fits = next((text for text in train.learning_rates if pattern(text).searches(name)), None)
        rate = train.learning_rate if fits is None else train.learning_rates[fits]
        used |= {fits} if fits else set()
        if "lora_B" in name:
            rate *= train.loraplus_ratio
        groups.setdefault((rate, any(part in name for part in NO_DECAY)), []).append(parameter)
    if unused := sorted(set(train.learning_rates) - used):
        raise RecipeError(
            f"{unused[0]!r} fits no trained weight",
            where="train.learning_rates",
            todo=f"Patterns are searched in names such as {next(iter(parameters))}",
        )
    return [
        {"params": members, "lr": rate} | ({"weight_decay": 0.0} if is_kept else {})
        for (rate, is_kept), members in groups.items()
    ]


def schedule_of(train: TrainTable) -> Schedule:
    """The learning rate's course, as a factor on its peak.

    Returns:
        A function of the step, from 0.
    """
    name: str = train.lr_scheduler
    if train.optimizer == "schedulefree":
        name = "constant_with_warmup"
    dummy = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=train.learning_rate)
    scheduler = get_scheduler(
        name,
        dummy,
        num_warmup_steps=train.lr_warmup_steps,
        num_training_steps=train.max_train_steps,
        num_cycles=RESTARTS if name == "cosine_with_restarts" else 1,
    )
    factor: Schedule = scheduler.lr_lambdas[0]
    return factor


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer of the recipe.

    Attributes:
        build: Makes it of parameter groups, the recipe's train table and the device.
        states: Numbers that it keeps for each trained one, in float32 numbers.
        package: Package that it needs beside Veneer's own; empty for none.
        extra: Veneer's extra that installs the package.
    """

    build: Callable[[list[dict[str, Any]], TrainTable, torch.device], Any]
    states: float
    package: str = ""
    extra: str = "optimizers"

    @property
    def module(self) -> str:
        """Name that its package is imported by."""
        return self.package.replace("-", "_")


def _adamw(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    return torch.optim.AdamW(groups, **_usual(train), fused=device.type in FUSED_ON)


def _adamw8bit(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, **_usual(train), min_8bit_size=SMALLEST_8BIT)


def _prodigy(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    from prodigyopt import Prodigy

    return Prodigy(groups, **_usual(train), safeguard_warmup=True, use_bias_correction=True)


def _schedulefree(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(groups, **_usual(train))


def _adafactor(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    from transformers.optimization import Adafactor

    return Adafactor(groups, **_usual(train), relative_step=False, scale_parameter=False)


def _lion(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    from lion_pytorch import Lion

    return Lion(groups, **_usual(train))


def _usual(train: TrainTable) -> dict[str, Any]:
    return {"lr": train.learning_rate, "weight_decay": train.adam_weight_decay}


OPTIMIZERS: Mapping[Optimizer, OptimizerSpec] = {
    "adamw": OptimizerSpec(_adamw, states=2),
    "adamw8bit": OptimizerSpec(_adamw8bit, states=0.5, package="bitsandbytes"),
    "prodigy": OptimizerSpec(_prodigy, states=4, package="prodigyopt"),
    "schedulefree": OptimizerSpec(_schedulefree, states=2, package="schedulefree"),
    "adafactor": OptimizerSpec(_adafactor, states=0.1),
    "lion": OptimizerSpec(_lion, states=1, package="lion-pytorch"),
}
"""Every optimizer that a recipe can name (`veneer.config.Optimizer`)."""


def _optimizer(groups: list[dict[str, Any]], train: TrainTable, device: torch.device) -> Any:
    spec = OPTIMIZERS[train.optimizer]
    try:
        return spec.build(groups, train, device)
    except ImportError as error:
        if not spec.package:
            raise
        raise RecipeError(
            f"the optimizer needs the package {spec.package}",
            where="train.optimizer",
            todo=f"Install it: pip install 'veneer[{spec.extra}]'",
        ) from error


class Gradients:
    """All gradients in one piece of memory, then the step's loss and a flag: one sum, one norm, one scaling.

    Args:
        parameters: What is trained; their ``grad`` becomes a view, into which the backward pass adds.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        count = sum(parameter.numel() for parameter in parameters)
        self._all = torch.zeros(count + 2, device=parameters[0].device)
        self._gradients = self._all[:count]
        for parameter, part in zip(
            parameters, torch.split(self._gradients, [p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = part.view_as(parameter)

    @property
    def everything(self) -> Tensor:
        """All of it, shape (n + 2,)."""
        return self._all

    @property
    def loss(self) -> Tensor:
        """The step's loss, a scalar view to add to."""
        return self._all[-2]

    @property
    def flag(self) -> Tensor:
        """A scalar view: above 0 where a process was asked to stop."""
        return self._all[-1]

    def zero(self) -> None:
        """Start a step."""
        self._all.zero_()

    def sum_over_processes(self) -> None:
        """Add up what every process has."""
        sum_in_place([self._all])

    def clip(self, max_norm: float) -> tuple[Tensor, Tensor]:
        """Scale all gradients down to a norm.

        Args:
            max_norm: Largest L2 norm of all together.

        Returns:
            The norm before and after, scalars on the device.
        """
        before = torch.linalg.vector_norm(self._gradients)
        self._gradients.mul_((max_norm / (before + 1e-6)).clamp(max=1.0))
        return before, torch.linalg.vector_norm(self._gradients)


def _notify_small(parameters: Iterable[nn.Parameter], train: TrainTable, on_event: OnEvent) -> None:
    if train.optimizer != "adamw8bit":
        return
    sizes = [parameter.numel() for parameter in parameters]
    small = sum(size < SMALLEST_8BIT for size in sizes)
    if small:
        message = (
            f"8-bit AdamW keeps the moments of {small} of {len(sizes)} weights in float32: they have fewer "
            f"than {SMALLEST_8BIT} numbers each"
        )
        on_event(Notice("train", "not-8-bit", message))
