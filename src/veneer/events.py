"""What happens during a stage, as typed events: one stream feeds bar, log, page and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """Something that a stage reports while it runs."""


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage begins.

    Attributes:
        stage: Name of the stage ("collect", "train", ...).
        total: Units of work to do, or None where unknown.
        unit: What is counted ("pictures", "steps").
    """

    stage: str
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class Progress(Event):
    """Work done so far in a stage.

    Attributes:
        done: Units of work done, from the stage's beginning (resumed work included).
        detail: Short text beside the bar, such as "loss 0.123".
    """

    stage: str
    done: int
    detail: str = ""


@dataclass(frozen=True)
class StageFinished(Event):
    """A stage ends well.

    Attributes:
        seconds: Wall-clock seconds it took; 0 where it was skipped.
        skipped: True where an earlier command had already done it.
    """

    stage: str
    summary: str
    seconds: float = 0.0
    skipped: bool = False


@dataclass(frozen=True)
class Notice(Event):
    """Something that the user should know; counted, and shown again in the report.

    Attributes:
        code: Short fixed name, such as "caption-truncated"; equal codes are counted together.
        message: What, where, and what to do.
        is_passing: Whether it may be otherwise when the same command goes on, so that it stays in no record
            of a stage that was stopped.
    """

    stage: str
    code: str
    message: str
    is_passing: bool = False


@dataclass(frozen=True)
class StepEvent(Event):
    """One optimizer step.

    Attributes:
        step: Step just finished, from 1.
        loss: Mean training loss of the global batch, unitless.
        lr: Learning rate used in the step.
        grad_norm: L2 norm of all trainable gradients before clipping.
        grad_norm_clipped: The norm after clipping.
        images_per_second: Pictures trained on per second in this step, over all processes.
        seconds: Wall-clock seconds of the step.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    grad_norm_clipped: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class ValidationEvent(Event):
    """A held-out loss.

    Attributes:
        step: Step after which it was measured; 0 is the untuned base.
        candidate: Which weights: "step", "ema" or "average".
        loss: Mean loss over the fixed grid of pictures, timesteps and noises.
        best: True where it is the lowest so far.
    """

    step: int
    candidate: str
    loss: float
    best: bool


@dataclass(frozen=True)
class CheckpointEvent(Event):
    """A checkpoint is safely on disk.

    Attributes:
        step: Step it holds.
    """

    step: int
    path: Path


@dataclass(frozen=True)
class PreviewEvent(Event):
    """A preview picture was made during training.

    Attributes:
        step: Step of the weights that made it.
        path: The PNG.
    """

    step: int
    path: Path


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Drop an event: the default where nobody listens."""
