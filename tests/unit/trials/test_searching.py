"""What a search proposes follows from what was found."""

import math
import sys
from collections.abc import Mapping

import pytest

from veneer.errors import RunError
from veneer.records.sweeps import SweepRecord, TrialRecord
from veneer.stats import Measure
from veneer.trials.axes import read_axes
from veneer.trials.ranking import Standing
from veneer.trials.searching import propose, refuse_without_optuna

AXES = read_axes(["train.learning_rate=1e-5..1e-2", "lora.rank=4,16"])


def factors(settings: Mapping[str, str]) -> float:
    """Powers of ten between a rate and the best one."""
    return abs(math.log10(float(settings["train.learning_rate"])) + 3)


def look(trial: TrialRecord) -> Standing:
    """Best at a rate of 1e-3, whatever the rank."""
    gain = -factors(trial.settings)
    style = Measure(0, gain, gain, (gain, gain), (gain, gain), 12, 0.5, "higher")
    return Standing(trial, 1.0, style, None, (gain, gain))


def grown(number: int, seed: int = 0) -> list[dict[str, str]]:
    record = SweepRecord(recipe={})
    for name in range(number):
        settings = propose(record, AXES, seed, look)
        trial = TrialRecord(name=str(name), settings=settings, state="done")
        record = record.model_copy(update={"trials": (*record.trials, trial)})
    return [dict(trial.settings) for trial in record.trials]


def test_proposals_are_the_same_again_and_come_near_to_what_is_good() -> None:
    pytest.importorskip("optuna")
    tried = grown(20)
    assert grown(8) == tried[:8]
    assert grown(3, seed=1) != tried[:3]
    assert len({tuple(one.items()) for one in tried}) == 20
    assert sum(map(factors, tried[10:])) / 10 < 0.6  # at random it would be 0.83


def test_when_every_value_was_tried_there_is_an_end() -> None:
    pytest.importorskip("optuna")
    trials = [TrialRecord(name=rank, settings={"lora.rank": rank}, state="failed") for rank in ("4", "16")]
    record = SweepRecord(recipe={}, trials=tuple(trials))
    failed = {trial.name: Standing(trial) for trial in trials}
    assert propose(record, AXES[1:], 0, lambda trial: failed[trial.name]) is None


def test_without_optuna_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match=r"veneer\[search\]"):
        refuse_without_optuna()
