"""The style bench's arithmetic and its tables, from made-up scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.style_page import BEGIN, END, between_marks, newest_results, section
from bench.style_systems import BASE, SYSTEMS, TRUTH, Plan, Scores, settings_of, steps_of
from bench.style_tables import ALL_STYLES, Measured, document, summarise, write_results
from bench.style_tasks import STYLES, texture_distance

NUM_SUBJECTS, NUM_GENERAL = 12, 8
GAINS = {TRUTH: 0.5, BASE: 0.0, "plain": 0.1, "veneer": 0.3, "veneer-third": 0.2}


def make_scores(system: str, style: Any, seed: int) -> Scores:
    """Every measure higher by the system's gain; only the drift of the base is nothing."""
    noise = np.random.default_rng([STYLES.index(style), seed])
    values = noise.uniform(0, 0.4, NUM_SUBJECTS) + noise.normal(0, 0.01, NUM_SUBJECTS) + GAINS[system]
    drift = noise.uniform(0.1, 0.2, NUM_GENERAL) * (system != BASE)
    rising: list[Any] = [values.tolist()] * 4
    numbers = [*rising, (-values).tolist(), *rising[:2], [] if system == TRUTH else drift.tolist()]
    return Scores(*numbers)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(90, (0, 1, 2), STYLES[:2], SYSTEMS, tmp_path, NUM_SUBJECTS)


@pytest.fixture
def found(plan: Plan) -> dict[str, Any]:
    return {
        style.name: {
            str(seed): {system: Measured(make_scores(system, style, seed), 10.0, "soft") for system in GAINS}
            for seed in plan.seeds
        }
        for style in plan.styles
    }


def test_subjects_are_the_unit_and_seeds_are_averaged(found: dict[str, Any]) -> None:
    summary = summarise(found, (BASE, *SYSTEMS), BASE)
    one, all_styles = summary["openmoji"]["veneer"], summary[ALL_STYLES]["veneer"]
    assert one["similarity"].n == NUM_SUBJECTS
    assert all_styles["similarity"].n == 2 * NUM_SUBJECTS
    assert one["similarity"].delta == pytest.approx(0.3)
    assert one["texture"].rises
    assert one["drift"].better == "lower"
    assert one["drift"].falls


def test_arms_are_held_against_the_plain_loop_too(found: dict[str, Any]) -> None:
    summary = summarise(found, (BASE, *SYSTEMS), "plain")
    assert summary["openmoji"]["veneer"]["style"].delta == pytest.approx(0.2)
    assert summary["openmoji"][BASE]["style"].delta == pytest.approx(-0.1)


def test_one_style_has_no_row_for_all(found: dict[str, Any]) -> None:
    assert ALL_STYLES not in summarise({"openmoji": found["openmoji"]}, (BASE, *SYSTEMS), BASE)


def test_a_third_is_a_third(plan: Plan) -> None:
    assert steps_of("veneer-third", plan) == 30
    assert settings_of("veneer-third", plan, 0)["train"]["max_train_steps"] == 30


def test_settings_of_the_plain_loop_hold_no_path(plan: Plan) -> None:
    settings = settings_of("plain", plan, 1)
    assert settings["seed"] == 1
    assert not any("/" in str(value) for value in settings.values())


def test_how_a_step_is_played_trains_no_arm_anew(plan: Plan) -> None:
    settings = settings_of("veneer", plan, 0)
    assert "learning_rate" in settings["train"] and "generate" not in settings
    assert not {"cuda_graph", "deterministic"} & set(settings["train"])


def test_document_names_every_arm_and_the_command(plan: Plan, found: dict[str, Any]) -> None:
    text = document(plan, found)
    assert text.count("Veneer, a third of the steps") >= 6
    assert "--steps 90 --seeds 0 1 2" in text
    assert "100 % of subjects" in text


def test_readme_is_made_from_the_written_results(
    plan: Plan, found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.style_tables.RESULTS", tmp_path / "results")
    sheet = [np.zeros((4, 8, 8, 3), np.uint8)] * 3
    written = write_results(plan, found, sheet)
    assert written.with_suffix(".png").is_file()
    results = json.loads(newest_results(tmp_path / "results").read_text())
    text = section(results, "bench/results/x.md")
    assert "| all styles | base, best prompt |" in text and "openmoji" not in text
    assert "Veneer against the plain loop, over all styles: style (log odds) +0.200" in text


def test_text_goes_between_the_marks() -> None:
    page = f"above\n{BEGIN}\nold\n{END}\nbelow"
    assert between_marks(page, "new\n") == f"above\n{BEGIN}\nnew\n{END}\nbelow"
    with pytest.raises(SystemExit, match="marks are missing"):
        between_marks("no marks", "new")


def test_texture_tells_blocks_from_smooth_pictures() -> None:
    noise = np.random.default_rng(0)
    blocks = noise.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    smooth = np.asarray(np.linspace(0, 255, 32)[None, None, :, None] * np.ones((3, 32, 1, 3)), np.uint8)
    assert texture_distance(blocks[3:], blocks).max() < texture_distance(smooth, blocks).min()
