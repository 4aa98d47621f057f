import json
from pathlib import Path
from typing import Any

import pytest

from veneer.proof import history
from veneer.records.candidates import CandidatesFile
from veneer.records.trainlog import read_steps

BASE = {"step": 0, "kind": "step", "loss": 0.3, "losses": [0.2, 0.4]}
CANDIDATES = [
    {"step": 10, "kind": "step", "loss": 0.2, "losses": [0.1, 0.3]},
    {"step": 20, "kind": "step", "loss": 0.25, "losses": [0.2, 0.3]},
    {"step": 20, "kind": "ema", "loss": 0.22, "losses": [0.2, 0.24]},
]
PLAIN = {"chosen": CANDIDATES[0], "base_loss": 0.3, "base": BASE, "candidates": CANDIDATES}
WHOLE = CandidatesFile.model_validate(PLAIN)


def test_losses_name_chosen_best_and_last() -> None:
    losses = history.losses_of(WHOLE)
    assert (losses.base, losses.chosen_step, losses.best_step, losses.last_step) == (0.3, 10, 10, 20)


@pytest.mark.parametrize("change", [{"chosen": None}, {"base_loss": None}, {"candidates": []}])
def test_nothing_held_out_has_no_losses(change: dict[str, Any]) -> None:
    assert history.losses_of(CandidatesFile.model_validate(PLAIN | change)) is None


def test_picture_losses_are_paired() -> None:
    assert history.picture_losses(WHOLE) == ((0.2, 0.4), (0.1, 0.3))
    assert (
        history.picture_losses(CandidatesFile.model_validate(PLAIN | {"base": BASE | {"losses": []}})) is None
    )
    assert history.picture_losses(CandidatesFile()) is None


def test_held_out_curve_begins_with_the_base() -> None:
    assert history.held_out_curve(WHOLE) == history.Curve((0, 10, 20), (0.3, 0.2, 0.25))
    assert history.held_out_curve(WHOLE, "ema") == history.Curve((20,), (0.22,))


def test_log_survives_a_kill_and_a_step_done_twice(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}, {"step": 2, "loss": 0.3, "note": "again"}]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 3, "lo'
    (tmp_path / "log.jsonl").write_text(text)
    assert history.curves_of(read_steps(tmp_path / "log.jsonl")) == {
        "loss": history.Curve((1, 2), (0.5, 0.3))
    }
    assert history.curves_of(read_steps(tmp_path / "none.jsonl")) == {}
