from typing import Any

import numpy as np

from veneer.proof import measure_text
from veneer.stats import Better, paired


def described(name: str, base: Any, tuned: Any, better: Better = "higher") -> Any:
    measure = paired(base, tuned, range(len(base)), better=better)
    metrics = {"measures": {name: measure.plain()}, "unavailable": {}}
    return measure_text.describe_measures(metrics)[0]


RISE = np.random.default_rng(0).normal(0.1, 0.01, 12)


def test_gain_says_so_with_wins() -> None:
    row = described("style", [0.5] * 12, 0.5 + RISE)
    assert row.trend == "gain"
    assert row.sentence.startswith("Nearer to the style: from 0.500 to ")
    assert row.wins == "100 % of 12 prompts"


def test_lower_is_better_where_it_is() -> None:
    assert described("validation_loss", [0.5] * 12, 0.5 - RISE, "lower").trend == "gain"
    assert described("memorisation", [0.0] * 12, RISE, "lower").trend == "loss"


def test_distance_from_the_base_is_neither_better_nor_worse() -> None:
    row = described("forgetting", [0.0] * 12, RISE, "lower")
    assert row.trend == "moved"
    assert row.sentence.startswith("Moved away by 0.1")
    assert row.wins == "not counted; 12 prompts"


def test_bar_has_better_on_the_right() -> None:
    gain = described("style", [0.5] * 12, 0.5 + RISE).bar
    assert 50 < gain.low < gain.middle < gain.high < 100
    loss = described("validation_loss", [0.5] * 12, 0.5 + RISE, "lower").bar
    assert 0 < loss.low < loss.middle < loss.high < 50
    assert described("style", [0.5], [0.7]).bar is None


def test_a_bar_of_no_difference_anywhere_is_its_middle() -> None:
    bar = described("style", [0.5] * 12, [0.5] * 12).bar
    assert (bar.low, bar.middle, bar.high) == (50, 50, 50)


def test_chance_is_called_chance() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 12)
    row = described("prompt", [0.3] * 12, 0.3 + noise - noise.mean())
    assert row.trend == "same"
    assert "No difference beyond chance: from 0.300" in row.sentence


def test_no_interval_is_said_once() -> None:
    row = described("style", [0.5], [0.7])
    assert row.trend == "unknown"
    assert row.interval == ""
    assert "not available" in row.sentence


def test_absent_measure_says_why() -> None:
    metrics = {"measures": {"style": None}, "unavailable": {"style": "the run holds no pictures out"}}
    sentence = measure_text.describe_measures(metrics)[0].sentence
    assert sentence == "Not available: the run holds no pictures out."
