"""Candidates and the choice among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from veneer.records.candidates import Candidate, Candidates


def candidate(step: int, loss: float | None, **values: Any) -> Candidate:
    return Candidate(**({"step": step, "kind": "step", "loss": loss} | values))


def ledger() -> Candidates:
    own = Candidates(base=candidate(0, 0.5, losses=(0.4, 0.6), by_timestep=(0.5,)))
    own.add(candidate(1, 0.4, losses=(0.3, 0.5), path="a"))
    own.add(candidate(1, 0.3, kind="ema", losses=(0.2, 0.4), path="b"))
    own.add(candidate(2, 0.35, losses=(0.3, 0.4), path="c"))
    return own


def test_the_lowest_loss_is_chosen_or_the_last_step() -> None:
    chosen, reason = ledger().chosen("validation")
    assert (chosen.step, chosen.kind) == (1, "ema")
    assert "0.30000, below the base's 0.50000" in reason
    chosen, _ = ledger().chosen("last")
    assert (chosen.step, chosen.kind) == (2, "step")


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    known = Candidates()
    for step, loss in ((1, float("nan")), (2, 0.2), (3, 0.3)):
        known.add(candidate(step, loss))
    assert known.best is not None and known.best.step == 2
    alone = Candidates(candidates=[candidate(1, float("nan"))])
    assert alone.best is None
    assert "no held-out loss is a number" in alone.chosen("validation")[1]


def test_a_best_that_is_worse_than_the_base_is_said() -> None:
    own = Candidates(base=candidate(0, 0.1))
    own.add(candidate(1, 0.4))
    assert "NOT below" in own.chosen("validation")[1]


def test_without_held_out_pictures_the_last_is_chosen() -> None:
    own = Candidates(base=candidate(0, None))
    assert not own.add(candidate(1, None))
    own.add(candidate(2, None))
    chosen, reason = own.chosen("validation")
    assert chosen.step == 2
    assert "no picture is held out" in reason


def test_a_ledger_survives_json() -> None:
    own = ledger()
    own.tell(3, "not-a-number", "x")
    assert Candidates.model_validate(json.loads(json.dumps(own.model_dump()))) == own


def test_paths_of_weights_that_are_gone_are_taken_out(tmp_path: Path) -> None:
    own = ledger()
    (tmp_path / "b").touch()
    own.forget_missing(tmp_path)
    assert [c.path for c in own.candidates] == [None, "b", None]
