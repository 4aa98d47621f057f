"""The bench on a GPU, tried on a CPU: the order of its tasks, its time, and what a cut-off run keeps."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import bench_gpu, gpu_systems, gpu_tables, speed_tables
from bench.bench_gpu import Bench
from bench.gpu_base import random_weight
from bench.gpu_cases import COMPILED, EAGER, Task, plan_tasks
from bench.speed_systems import CACHED, PLAIN, VENEER, Case, Turn, plain, recipe_of

SECONDS = {VENEER: 0.05, CACHED: 0.2, PLAIN: 0.25, EAGER: 0.1}


def system(seconds: float, first: float = 9.0) -> dict[str, Any]:
    turns = [plain(Turn(s, s, 3.0, 5.0)) for s in (first, seconds, 1.1 * seconds, seconds)]
    return {
        "seconds_to_first_turn": 90.0,
        "turns": turns,
        "reserved_gib": 6.5,
        "held_before_gib": 0.0,
    }


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("bench.speed_ceiling.matrix_rate", lambda precision, side: 7e14)
    monkeypatch.setattr("bench.speed_ceiling.flop_of_step", lambda case: 2 * 10**12)
    monkeypatch.setattr(gpu_systems, "train_task", lambda task, work, deadline: system(SECONDS[task.system]))
    return Bench("a command", tmp_path / "work", tmp_path, seconds=100, started=time.monotonic())


def tasks_of(tmp_path: Path, *systems: str, estimate: float = 1.0) -> list[Task]:
    case = Case("SD 1.5", "base", "run", 512, 4, "bf16", turn=10, turns=4)
    return [Task("train", case, one, estimate) for one in systems]


def test_the_most_telling_sizes_come_first_and_fit_the_time(tmp_path: Path) -> None:
    tasks = plan_tasks(tmp_path)
    titles = [task.title for task in tasks]
    assert len(set(titles)) == len(titles)
    assert [(task.case.batch_size, task.system) for task in tasks[:6]] == [
        (4, VENEER), (4, CACHED), (4, PLAIN), (1, VENEER), (1, CACHED), (1, PLAIN)
    ]  # fmt: skip
    real = [task for task in tasks if task.case.name == "SD 1.5"]
    own = {(task.case.resolution, task.case.batch_size) for task in real if task.system == VENEER}
    assert own == {(512, n) for n in (1, 2, 4, 8, 16, 32)} | {(1024, 2)}
    assert {task.case.batch_size for task in real if task.system == PLAIN} == {1, 4, 16}
    assert {t.case.gradient_checkpointing for t in real if t.case.resolution == 1024} == {True, False}
    assert {"encode", "generate", "start", "watch"} <= {task.kind for task in tasks}
    assert next(task for task in tasks if task.kind == "watch").case.steps == 300
    estimates = [task.estimate for task in tasks if task.system != COMPILED]
    assert sum(estimates) < 450
    first = next(number for number, task in enumerate(tasks) if task.case.batch_size == 32)
    assert sum(estimates[:first]) < 230


def test_the_switches_of_an_arm_reach_its_recipe(tmp_path: Path) -> None:
    case = next(task.case for task in plan_tasks(tmp_path) if task.system == COMPILED)
    assert recipe_of(replace(case, base="pocket")).train.compile
    eager = next(task.case for task in plan_tasks(tmp_path) if task.system == EAGER)
    assert not recipe_of(replace(eager, base="pocket")).train.cuda_graph
    assert recipe_of(replace(case, base="pocket")).train.cuda_graph
    assert not recipe_of(replace(case, base="pocket", options=())).train.compile


def test_the_document_has_a_line_for_a_size_and_a_column_for_an_arm(bench: Bench, tmp_path: Path) -> None:
    bench.run(tasks_of(tmp_path, VENEER, CACHED, PLAIN, EAGER))
    path = bench.write()
    text = path.read_text()
    line = "| SD 1.5, 512 px, batch 4, bf16 | 16 | 20 | 40 | **80** |  | 0.05 | 5.00 | 4.00 | 23 % "
    assert line in text
    assert "| SD 1.5, 512 px, batch 4, bf16 | speed against: plain loop | at least 4 | 5 | yes |" in text
    assert path.with_suffix(".json").stat().st_size < 100_000
    record = json.loads(path.with_suffix(".json").read_text()) | {"has_gpu": True}
    path.with_suffix(".json").write_text(json.dumps(record))
    assert line in speed_tables.section([path.with_suffix(".json")])
    assert "not measured" not in speed_tables.section([path.with_suffix(".json")])


def test_what_no_time_is_left_for_is_named(bench: Bench, tmp_path: Path) -> None:
    bench.run([*tasks_of(tmp_path, CACHED, estimate=1000), *tasks_of(tmp_path, VENEER)])
    assert list(bench.record["cases"][0]["arms"]) == [VENEER]
    assert "SD 1.5, 512 px, batch 4, bf16 plain loop, cached: no time" in bench.write().read_text()


def test_a_task_that_fails_leaves_the_others(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(task: Task, work: Path, deadline: float) -> dict[str, Any]:
        if task.system == CACHED:
            raise RuntimeError("out of\nmemory")
        return system(0.1)

    monkeypatch.setattr(gpu_systems, "train_task", train)
    bench.run(tasks_of(tmp_path, VENEER, CACHED, PLAIN))
    assert bench.record["cases"][0]["failed"] == {CACHED: "RuntimeError: out of memory"}
    text = bench.write().read_text()
    assert "| 40 | failed |  | **40** |" in text
    assert "plain loop, cached: RuntimeError: out of memory" in text


def test_a_run_that_is_cut_off_keeps_what_it_has(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(task: Task, work: Path, deadline: float) -> dict[str, Any]:
        if task.system == PLAIN:
            raise KeyboardInterrupt
        return system(SECONDS[task.system])

    monkeypatch.setattr(gpu_systems, "train_task", train)
    with pytest.raises(KeyboardInterrupt):
        bench.run(tasks_of(tmp_path, VENEER, PLAIN))
    (path,) = tmp_path.glob("speed_*.json")
    assert list(json.loads(path.read_text())["cases"][0]["arms"]) == [VENEER]


@pytest.mark.parametrize("how", ["broken", "hanging"])
def test_a_broken_device_and_a_task_that_hangs_are_left_for_a_new_process(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    called = []
    tasks = tasks_of(tmp_path, VENEER, CACHED, PLAIN, estimate=0.01)
    monkeypatch.setattr(os, "execv", lambda program, words: called.append(words))
    if how == "broken":
        monkeypatch.setattr(bench_gpu, "is_broken", lambda: not called)
    else:
        monkeypatch.setattr(bench_gpu, "HANGING_SECONDS", 0.05)
        monkeypatch.setattr(
            gpu_systems, "train_task", lambda task, work, deadline: time.sleep(0.3) or system(0.1)
        )
    bench.run(tasks[:1])
    (words,) = called
    assert words[1:3] == ["-m", "bench.bench_gpu"]
    assert 0 < float(words[words.index("--seconds") + 1]) < 100
    earlier = tmp_path / words[words.index("--go-on") + 1]
    monkeypatch.setattr(gpu_systems, "train_task", lambda task, work, deadline: system(SECONDS[task.system]))
    monkeypatch.setattr(bench_gpu, "is_broken", lambda: False)
    again = Bench("b", tmp_path, tmp_path, seconds=50, started=time.monotonic(), earlier=earlier)
    again.run(tasks)
    assert again.record["tried"] == [task.title for task in tasks]
    assert {CACHED, PLAIN} <= set(again.record["cases"][0]["arms"])
    assert again.record["command"] == "a command"


def test_slowing_down_is_seen(bench: Bench) -> None:
    steady = {"title": "x", "steps": 300, **system(0.1)}
    slowing = {"title": "y", "steps": 300, "turns": [plain(Turn(s / 100, 0, 0, 0)) for s in range(10, 40)]}
    bench.record["watched"] += [steady, slowing]
    text = gpu_tables.aims(bench.record)
    assert "| at most 1.05 | 1.000 | yes |" in text or "| at most 1.05 | 0.952 | yes |" in text
    assert text.splitlines()[-1].endswith("| no |")


def test_a_tiny_run_of_the_real_thing(tmp_path: Path, base_folder: Path) -> None:
    """Every system, encoding and drawing, as on a card."""
    case = Case("tiny", str(base_folder), str(tmp_path / "run"), 32, 2, "no", turn=1, turns=3)
    bench = Bench("c", tmp_path / "work", tmp_path, seconds=200, started=time.monotonic())
    tasks = [Task("train", case, one, 1) for one in (VENEER, CACHED, PLAIN)]
    lower = replace(case, precision="bf16", turns=2)
    tasks += [Task("train", lower, one, 1) for one in (PLAIN, VENEER, CACHED)]
    tasks += [Task(kind, case, "", 1) for kind in ("encode", "generate")]
    tasks.append(Task("watch", replace(case, turns=6), VENEER, 1))
    bench.run(tasks)
    record = bench.record
    assert record["not_measured"] == {}
    assert set(record["cases"][0]["arms"]) == {VENEER, CACHED, PLAIN}
    assert record["cases"][0]["flop_per_step"] > 0
    assert record["encoded"][0]["pictures_per_second"] > 0
    assert record["drawn"][0]["pictures"] == 3 * record["drawn"][0]["together"]
    assert record["watched"][0]["steps"] == 6


def test_time_that_is_up_ends_an_arm_after_its_turn(tmp_path: Path, base_folder: Path) -> None:
    case = Case("tiny", str(base_folder), str(tmp_path / "run"), 32, 2, "no", turn=1, turns=5)
    with pytest.raises(gpu_systems.OutOfTimeError):
        gpu_systems.train_task(Task("train", case, VENEER, 1), tmp_path, time.monotonic() - 1)
    found = gpu_systems.train_task(Task("train", case, VENEER, 1), tmp_path, time.monotonic() + 100)
    assert len(found["turns"]) == 5


def test_random_weights_let_signals_through() -> None:
    generator = torch.Generator("cpu").manual_seed(0)
    weight = random_weight("x.weight", torch.Size((64, 32, 3, 3)), generator).float()
    assert float(weight.std()) == pytest.approx((32 * 9) ** -0.5, rel=0.05)
    assert random_weight("norm1.weight", torch.Size((8,)), generator).tolist() == [1] * 8
    assert random_weight("norm1.bias", torch.Size((8,)), generator).tolist() == [0] * 8
