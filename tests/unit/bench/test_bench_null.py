"""The bench of false alarms: its rules are the verdict's, and an effect that is there is found."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import bench_null
from bench.machine import RESULTS
from bench.null_pool import Design, Pool, comparison
from bench.null_tables import document, power
from veneer.proof.promptplan import POWER

NUM_SUBJECTS, NUM_SEEDS, NUM_REAL, WIDTH = 12, 8, 30, 24


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


@pytest.fixture
def pool() -> Pool:
    """Random pictures of twelve subjects, and a style that lies elsewhere."""
    random = np.random.default_rng(0)
    subjects = random.normal(size=(NUM_REAL, WIDTH))
    style = 2 * random.normal(size=WIDTH)
    shown = subjects[:NUM_SUBJECTS, None] + random.normal(size=(NUM_SUBJECTS, NUM_SEEDS, WIDTH))
    real = subjects + style
    alike = random.uniform(0, 0.8, (NUM_SUBJECTS, NUM_SEEDS, NUM_REAL))
    return Pool(
        unit(shown),
        shown,
        shown[None],
        alike,
        unit(subjects[:NUM_SUBJECTS]),
        unit(real),
        real,
        random.uniform(0, 0.8, (NUM_REAL, NUM_REAL)),
    )


def test_the_base_is_not_shown_to_differ_from_itself(pool: Pool) -> None:
    found = bench_null.judged(pool, Design(8), 30, seed=0)
    assert found["not shown"] >= 0.9
    assert sum(found.get(word, 0) for word in ("better", "worse", "trade", "not shown")) == pytest.approx(1)


def test_an_effect_that_is_there_is_found(pool: Pool) -> None:
    """Were both sides of a pair the same picture, or dealt at random, this would find nothing."""
    found = bench_null.judged(pool, Design(8, pull=0.6), 10, seed=0)
    assert found["nearer"] == 1
    assert found["way"] > 0.4


def test_no_seed_stands_on_both_sides_and_prompts_share_them(pool: Pool) -> None:
    told = np.broadcast_to(np.eye(NUM_SEEDS, WIDTH), (NUM_SUBJECTS, NUM_SEEDS, WIDTH))
    seen, _ = comparison(replace(pool, pictures=told), Design(6), np.random.default_rng(0))
    before, after = (set(side.argmax(1)) for side in (seen.pictures.base, seen.pictures.tuned))
    assert len(before) == len(after) == len(set(seen.seeds)) == 3
    assert len(seen.prompts) == 18
    assert not before & after


def test_held_out_prompts_have_seeds_of_their_own(pool: Pool) -> None:
    seen, facts = comparison(pool, Design(3, 5), np.random.default_rng(0))
    assert (len(seen.prompts), facts.num_prompts) == (3 * 3 + 5 * 2, 8)
    own = seen.seeds[9:]
    assert len(set(own)) == len(own)


def test_a_subject_that_is_lost_is_found_no_more(pool: Pool) -> None:
    kept, lost = (bench_null.judged(pool, Design(8, lost=lost), 10, seed=0)["fall"] for lost in (0.0, 0.5))
    assert kept == pytest.approx(0, abs=0.1)
    assert 0.3 < lost < 0.7


def test_a_trade_is_a_false_alarm_in_both_directions() -> None:
    assert bench_null.false_alarms({"better": 0.01, "worse": 0.02, "trade": 0.5}) == (0.51, 0.52)


def test_the_document_names_every_design_and_effect(pool: Pool) -> None:
    one = bench_null.judged(pool, Design(6, pull=0.2), 5, seed=0)
    setting = {"date": "2026-01-01", "hardware": {"processor": "p", "cores": 1}, "versions": {"torch": "2"}}
    text = document(
        setting
        | {"command": "c", "comparisons": 5, "comparisons_of_effects": 5, "seeds": NUM_SEEDS}
        | {"found": {"6": one}, "effects": {"6": {"0.2": one}}}
    )
    assert "| | 6 |" in text
    assert "share of the way" in text


def test_the_power_that_is_told_is_the_newest_that_was_measured() -> None:
    newest = max(RESULTS.glob("null_*.json"), key=lambda path: path.stem[-10:])
    effects = json.loads(newest.read_text("utf-8"))["effects"]
    assert {number: power(effects[str(number)]) for number in POWER} == dict(POWER)


def test_power_lies_between_the_effects_that_were_measured() -> None:
    measured = {"0.1": {"way": 0.2, "nearer": 0.1}, "0.4": {"way": 0.8, "nearer": 0.7}}
    assert power(measured) == (23, 57, 70)
