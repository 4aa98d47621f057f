"""The style bench's order of work: systems are kept one by one, and redone only where something changed."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import bench_style
from bench.bench_style import StyleBench, measure_style, read_plan, sheet_rows
from bench.style_systems import BASE, SYSTEMS, TRUTH, Scores
from bench.style_tasks import STYLES, Task, the_judge
from pocket.sources import RecipeError
from veneer.config import GenerateTable

SCORES = Scores(*[[0.5] * 4] * 8)
PICTURES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything slow is replaced, and leaves its name here."""
    made: list[Any] = []

    def train(system: str, plan: Any, seed: int, folder: Path, *, side_px: int) -> tuple[Path, float]:
        made.append((system, seed))
        return folder / "lora.safetensors", 1.0

    def score(
        sampler: Any, clip: Any, task: Any, word: str | None, general: Any, *, is_base: bool = False
    ) -> tuple[Scores, np.ndarray]:
        made.append(("score", word))
        return SCORES, PICTURES

    monkeypatch.setattr(Task, "true_pictures", lambda self, subjects: PICTURES)
    for name, fake in {
        "train_system": train,
        "score": score,
        "scores_of": lambda drawn, clip, task, drift: SCORES,
        "best_word": lambda sampler, task: "soft",
        "build_task": lambda style, seed, side_px, num_subjects: Task(style, (), (), side_px),
        "write_dataset": lambda task, folder: folder,
        "load_lora": lambda sampler, lora: None,
        "unload_lora": lambda sampler: None,
    }.items():
        monkeypatch.setattr(bench_style, name, fake)
    return made


@pytest.fixture
def bench(tmp_path: Path) -> StyleBench:
    plan = read_plan(["--steps", "30", "--seeds", "0", "1", "--styles", "openmoji", "--work", str(tmp_path)])
    sampler: Any = SimpleNamespace(fingerprint="f", table=GenerateTable(), native_px=8)
    return StyleBench(plan, sampler, None, np.zeros((2, 3)), "judge")


def test_base_is_measured_once_and_every_arm_for_every_seed(bench: StyleBench, calls: list[Any]) -> None:
    found = measure_style(bench, STYLES[0])
    assert list(found) == ["0", "1"]
    assert list(found["0"]) == [TRUTH, BASE, *SYSTEMS]
    assert [call for call in calls if call[0] != "score"] == [
        (system, s) for s in (0, 1) for system in SYSTEMS
    ]
    assert calls.count(("score", "soft")) == 1


def test_the_same_command_does_nothing_again(bench: StyleBench, calls: list[Any]) -> None:
    first = measure_style(bench, STYLES[0])
    calls.clear()
    assert measure_style(bench, STYLES[0]) == first
    assert not calls


def test_an_interrupted_arm_alone_is_done_again(bench: StyleBench, calls: list[Any]) -> None:
    measure_style(bench, STYLES[0])
    calls.clear()
    (bench.plan.work / "openmoji" / "seed-1" / "veneer" / "scores.json").unlink()
    measure_style(bench, STYLES[0])
    assert calls == [("veneer", 1), ("score", "outlined")]


@pytest.mark.parametrize("change", [{"judge_hash": "other"}, {"sampler": SimpleNamespace()}])
def test_another_judge_or_base_means_everything_again(
    bench: StyleBench, calls: list[Any], change: dict[str, Any]
) -> None:
    measure_style(bench, STYLES[0])
    num_calls = len(calls)
    if "sampler" in change:
        change = {"sampler": SimpleNamespace(**{**vars(bench.sampler), "fingerprint": "g"})}
    measure_style(replace(bench, **change), STYLES[0])
    assert len(calls) == 2 * num_calls


def test_sheet_has_truth_base_and_every_arm(bench: StyleBench, calls: list[Any]) -> None:
    measure_style(bench, STYLES[0])
    assert len(sheet_rows(bench.plan, 8)) == 2 + len(SYSTEMS)


def test_a_missing_judge_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.style_tasks.JUDGE_FILE", tmp_path / "judge.safetensors")
    the_judge.cache_clear()
    with pytest.raises(RecipeError, match="the judge is missing; train it with `python -m pocket judge`"):
        the_judge()
