"""The speed bench: its systems take turns, its document holds what was measured."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench import bench_speed, speed_tables
from bench.speed_ceiling import flop_of_step
from bench.speed_systems import CACHED, PLAIN, SYSTEMS, VENEER, Case, Turn, _run, plain
from veneer.records.run import RunDir


class Parent:
    """Stands for the other end of a system's pipe."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, what: Any) -> None:
        self.said.append(what)

    def recv(self) -> None:
        return None


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Case:
    run = tmp_path_factory.mktemp("speed") / "run"
    case = Case(
        "tiny", str(base_folder), str(run), resolution=32, batch_size=2, precision="no", turn=2, turns=3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bench_speed.PICTURES, "tiny", 4)
        encoded = bench_speed.prepare(case)
    assert encoded["pictures"] == 4
    assert encoded["seconds_again"] < encoded["seconds"]
    return case


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_arm_reports_every_turn(case: Case, tmp_path: Path, system: str) -> None:
    parent = Parent()
    _run(system, case, tmp_path, parent)
    assert [type(turn) for turn in parent.said] == [Turn] * case.turns, parent.said
    assert all(turn.seconds > 0 and turn.peak_memory_gib > 0.05 for turn in parent.said)
    if system == VENEER:
        assert len((tmp_path / "log.jsonl").read_text().splitlines()) == case.steps
        assert RunDir(Path(case.run)).candidates_json.is_file()
    else:
        assert (tmp_path / "lora.safetensors").is_file()


def test_an_arm_that_fails_says_why(case: Case, tmp_path: Path) -> None:
    parent = Parent()
    _run(PLAIN, replace(case, base=str(tmp_path / "nothing")), tmp_path, parent)
    assert isinstance(parent.said[-1], str)
    assert "nothing" in parent.said[-1]


def test_operations_grow_with_the_batch(case: Case) -> None:
    one = flop_of_step(replace(case, batch_size=1))
    assert one > 0
    assert flop_of_step(case) == 2 * one


def measured(
    name: str, precision: str, seconds: tuple[float, ...], peaks: Any, losses: Any
) -> dict[str, Any]:
    case = Case(name, "base", "run", 512, 1, precision, turn=1, turns=4)
    systems = {
        system: {
            "seconds_to_first_turn": 9.0,
            "turns": [plain(Turn(s, 2 * s, peak, 0.0)) for s in (9.0, 9.0, s, s)],
        }
        for system, s, peak in zip(SYSTEMS, seconds, peaks, strict=True)
    }
    return {
        **asdict(case),
        "title": case.title,
        "flop_per_step": 2e12,
        "ceiling_flop_per_second": [4e11, 4e11],
        "encoding": {"pictures": 4, "seconds": 2.0, "seconds_again": 0.1},
        "arms": systems,
        "failed": {},
        "losses": losses,
    }


def test_the_document_compares_the_arms(tmp_path: Path) -> None:
    cases = [
        measured("SD 1.5", "no", (20.0, 11.0, 10.0), (8.0, 8.0, 7.0), [0.5, 0.4]),
        measured("SD 1.5", "bf16", (12.0, 9.0, 8.0), (5.0, 4.0, 5.0), [0.5, 0.41, 0.3]),
    ]
    facts = {
        "command": "python -m bench.bench_speed",
        "threads": 2,
        "load_before": 0.1,
        "minutes": 9.0,
        "starts": {"veneer --help": 0.2},
        "has_gpu": False,
        "cases": cases,
    }
    path = speed_tables.write_document(facts, tmp_path)
    text = path.read_text()
    assert "| 10 (10 to 10) | 20 | 0.1 | 2.00 | 1.10 | 50 % | 7.00 | 9.0 |" in text
    assert "| SD 1.5, 512 px, batch 1, bf16 | speed against the plain loop | 1.70 | 1.50 | no |" in text
    assert "| peak memory below the cached loop's: ratio | 1.00 | 0.80 | no |" in text
    assert "| SD 1.5, 512 px, batch 1 | 2 | 0.50000 | 0.50000 | 2.5e-02 |" in text
    assert "(`make bench-gpu`): not measured." in text
    assert json.loads(path.with_suffix(".json").read_text())["cases"][0]["arms"].keys() == set(SYSTEMS)
    assert "| Veneer |" in speed_tables.section([path.with_suffix(".json")])


def test_a_failed_arm_is_told() -> None:
    case = measured("SD 1.5", "bf16", (12.0, 9.0, 8.0), (5.0, 4.0, 5.0), [])
    del case["arms"][CACHED]
    assert speed_tables.table([case]).count("\n") == 3
    assert speed_tables.targets([case]).count("\n") == 1
