"""What is probed, in what order, and for how long."""

from pathlib import Path
from typing import Any

import pytest

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.recipe import resolve
from veneer.records.run import Identity, RunDir, RunRecord, StageRecord
from veneer.records.sweeps import SweepDir, SweepRecord, TrialRecord
from veneer.stats import Measure
from veneer.trials.probing import (
    RANK_KEY,
    RATE_KEY,
    STEPS_KEY,
    find_settings,
    foreseen,
    next_probe,
    next_within,
)
from veneer.trials.ranking import Standing

RECIPE = resolve(
    {"lora": {"rank": 8, "lora_alpha": 4.0}, "train": {"max_train_steps": 120, "learning_rate": 1e-3}}
)


def look(trial: TrialRecord) -> Standing:
    """Better at a larger rank."""
    gain = float(trial.settings[RANK_KEY])
    style = Measure(0, gain, gain, (gain - 1, gain + 1), (gain - 2, gain + 2), 12, 0.5, "higher")
    return Standing(trial, 1.0, style, None, (gain - 1, gain + 1))


def probed(recipe: Recipe) -> list[dict[str, str]]:
    record = SweepRecord(recipe={})
    while (settings := next_probe(recipe, record, look)) is not None:
        trial = TrialRecord(name=str(len(record.trials)), settings=settings, state="done")
        record = record.model_copy(update={"trials": (*record.trials, trial)})
    return [dict(trial.settings) for trial in record.trials]


def test_short_probes_come_first_and_the_best_go_on_longer() -> None:
    tried = probed(RECIPE)
    assert [one[STEPS_KEY] for one in tried] == ["30"] * 6 + ["60"] * 3 + ["120"] * 2
    assert [one[RANK_KEY] for one in tried[6:]] == ["32", "32", "8", "32", "32"]
    assert tried[0] == {RANK_KEY: "8", "lora.lora_alpha": "4", RATE_KEY: "0.001", STEPS_KEY: "30"}
    assert tried[3]["lora.lora_alpha"] == "16"  # the scale of the update stays


def begun(tmp_path: Path) -> tuple[SweepDir, SweepRecord]:
    """A sweep whose one probe took 40 s: 20 for the data, 15 for 30 steps."""
    folder = SweepDir(tmp_path)
    identity = Identity(settings={}, inputs={})
    told = {"encode": 20.0, "train": 15.0}
    stages = {
        name: StageRecord(identity=identity, summary="", seconds=seconds, peak_memory_gib=0)
        for name, seconds in told.items()
    }
    RunRecord(stages=stages).write(RunDir(tmp_path / "trials/001").run_json)
    trial = TrialRecord(name="001", settings={STEPS_KEY: "30", RANK_KEY: "8"}, state="done", seconds=40.0)
    return folder, SweepRecord(recipe={}, trials=(trial,))


def test_what_a_probe_takes_is_foreseen_from_those_before(tmp_path: Path) -> None:
    folder, record = begun(tmp_path)
    assert foreseen(folder, record, 60) == pytest.approx(5 + 30)  # the data set is made once


def test_probing_ends_where_the_next_probe_does_not_fit_and_says_so(tmp_path: Path) -> None:
    folder, record = begun(tmp_path)
    told: list[Any] = []
    assert next_within(folder, RECIPE, 45.0, lambda _: None, told.append)(record) is not None
    assert next_within(folder, RECIPE, 39.0, lambda _: None, told.append)(record) is None
    assert [notice.code for notice in told] == ["auto-out-of-time"]
    assert "would take 20 s, and 19 are left" in told[0].message


def test_no_time_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no time to probe"):
        find_settings(RECIPE, RunDir(tmp_path / "run"), 0.0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("said", [{}, {STEPS_KEY: "0"}, {STEPS_KEY: "many"}, {STEPS_KEY: "9" * 5000}])
def test_a_probe_that_does_not_say_its_steps_is_passed_over(tmp_path: Path, said: dict[str, str]) -> None:
    folder, record = begun(tmp_path)
    odd = TrialRecord(name="002", settings=said, state="done", seconds=1.0)
    changed = record.model_copy(update={"trials": (*record.trials, odd)})
    assert foreseen(folder, changed, 60) == foreseen(folder, record, 60)
    assert next_probe(RECIPE, changed, look) is not None
