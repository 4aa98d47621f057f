"""Trials that fall behind on the held-out loss are stopped early, so that others have the time.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA).
"""

from __future__ import annotations

from collections.abc import Sequence

from veneer.events import Event, ValidationEvent
from veneer.records.sweeps import TrialRecord

ETA = 3
"""One trial in so many goes on past a rung."""
RUNGS = 2
"""Rungs on the way: at a ninth and at a third of the steps."""
COMPARABLE = ("lora", "train", "compare")
"""Tables whose keys leave the held-out loss what it is."""
NOT_COMPARABLE = (
    "train.max_train_steps",
    "train.seed",
    "train.validation_share",
    "train.validation_steps",
    "train.masked_loss",
    "train.timestep_range",
    "train.prior_sources",
)
"""Keys of these tables that change which pictures, timesteps or steps the loss is measured at."""


class FallenBehindError(Exception):
    """A trial whose held-out loss is behind those of others at the same step."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def can_halve(keys: Sequence[str]) -> bool:
    """Whether the held-out losses of trials that differ in some keys are of one measure."""
    return all(key.partition(".")[0] in COMPARABLE and key not in NOT_COMPARABLE for key in keys)


class Halving:
    """Watches the held-out losses of one trial; pass itself the events.

    Args:
        others: Trials before, with their losses by step.
        max_train_steps: Steps of a whole trial.
        acts: Whether a trial that is behind is stopped; otherwise its losses are only kept.
    """

    def __init__(self, others: Sequence[TrialRecord], max_train_steps: int, *, acts: bool) -> None:
        self._others = others
        self._rungs = [max(1, max_train_steps // ETA**n) for n in range(RUNGS, 0, -1)]
        self._last = max_train_steps
        self._acts = acts
        self.losses: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take in one event.

        Raises:
            FallenBehindError: If the trial is behind.
        """
        if not isinstance(event, ValidationEvent) or event.candidate != "step" or not event.step:
            return
        before = max((int(step) for step in self.losses), default=0)
        self.losses[str(event.step)] = event.loss
        passed = any(before < rung <= event.step for rung in self._rungs)
        if self._acts and passed and event.step < self._last:
            self._judge(event.step, event.loss)

    def _judge(self, step: int, loss: float) -> None:
        known = [one.losses[str(step)] for one in self._others if str(step) in one.losses]
        if len(known) < ETA - 1:
            return
        better = sum(other < loss for other in known)
        if better >= (len(known) + 1) / ETA:
            raise FallenBehindError(
                f"held-out loss {loss:.5f} at step {step}, {better} of {len(known)} were lower"
            )
