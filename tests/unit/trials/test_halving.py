"""Trials that fall behind are stopped."""

import pytest

from veneer.events import ValidationEvent
from veneer.records.sweeps import TrialRecord
from veneer.trials.halving import FallenBehindError, Halving, can_halve


def judged(step: int, loss: float, candidate: str = "step") -> ValidationEvent:
    return ValidationEvent(step, candidate, loss, best=False)


def others(*losses: float, step: int = 30) -> list[TrialRecord]:
    return [TrialRecord(name=str(n), settings={}, losses={str(step): loss}) for n, loss in enumerate(losses)]


def test_only_the_best_third_goes_on_past_a_rung() -> None:
    ahead = Halving(others(0.2, 0.3), 90, acts=True)
    ahead(judged(30, 0.1))
    behind = Halving(others(0.2, 0.3), 90, acts=True)
    with pytest.raises(FallenBehindError, match="at step 30, 1 of 2 were lower"):
        behind(judged(30, 0.25))


def test_too_few_others_a_step_between_rungs_and_the_last_step_stop_nothing() -> None:
    Halving(others(0.1), 90, acts=True)(judged(30, 0.5))
    late = Halving(others(0.1, 0.1, step=60), 90, acts=True)
    late(judged(40, 0.5))
    late(judged(60, 0.5))
    Halving(others(0.1, 0.1, step=90), 90, acts=True)(judged(90, 0.5))


def test_the_base_and_the_moving_average_are_not_judged() -> None:
    halving = Halving(others(0.1, 0.1), 90, acts=True)
    halving(judged(0, 0.5))
    halving(judged(30, 0.5, "ema"))
    assert halving.losses == {}


def test_a_grid_only_keeps_the_losses() -> None:
    halving = Halving(others(0.1, 0.1), 90, acts=False)
    halving(judged(30, 0.5))
    assert halving.losses == {"30": 0.5}


def test_losses_of_other_pictures_or_steps_are_not_compared() -> None:
    assert can_halve(["lora.rank", "train.learning_rate"])
    assert not can_halve(["lora.rank", "encode.resolution"])
    assert not can_halve(["train.max_train_steps"])
