"""The fault bench: its frame counts what must never come, and a few cases of each slice are done here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.bench_faults import SLICES
from bench.faults import Outcome, Prepared, Slice, WrongError, go_on, judge, table
from veneer.errors import AdapterError


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("one", SLICES, ids=lambda one: one.name)
def test_a_few_faults_of_every_kind(one: Slice, prepare: Prepared) -> None:
    prepared = prepare(one)
    outcomes = [judge(one, prepared, number) for number in one.quick]
    assert not [outcome for outcome in outcomes if outcome.is_bad]


def attempt(prepared: list[int], number: int) -> str:
    prepared.append(number)
    match number:
        case 1:
            raise AdapterError("no")
        case 2:
            raise WrongError("bytes differ")
        case 3:
            raise KeyError("x")
        case 4:
            time.sleep(5)
    return "held"


def frame(seen: list[int], cases: int = 6) -> Slice:
    return Slice("frame", "cases that fail in every way", cases, (), lambda folder: seen, attempt, 0.2)


def test_every_failure_is_told_from_a_refusal(tmp_path: Path) -> None:
    outcomes = go_on([frame([])], tmp_path, 60, lambda outcome: None)
    assert [outcome.came for outcome in outcomes] == [
        "held",
        "refused",
        "wrong",
        "exit 3: KeyError",
        "hang",
        "held",
    ]
    assert [outcome.is_bad for outcome in outcomes] == [False, False, True, True, True, False]
    lines = "\n".join(table([frame([])], outcomes))
    assert "6 of 6" in lines
    assert "`frame` 2: wrong: bytes differ" in lines


def test_a_stopped_bench_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    def stop(outcome: Outcome) -> None:
        if outcome.number == 1:
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        go_on([frame(seen)], tmp_path, 60, stop)
    with (tmp_path / "outcomes.jsonl").open("a") as file:
        file.write('\n{"slice": "frame", "num')
    assert len(go_on([frame(seen)], tmp_path, 60, lambda outcome: None)) == 6
    assert seen == [0, 1, 2, 3, 4, 5]
