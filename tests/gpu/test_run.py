"""The whole path on a GPU: every stage on tiny random models, as one command does it, and again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.tiny import tiny_pictures
from veneer import run
from veneer.config import Recipe
from veneer.events import Event, Notice, StageFinished
from veneer.outcomes import RunResult
from veneer.recipe import resolve
from veneer.stage import STAGE_NAMES
from veneer.training import plan as plans

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing was tested"),
]


@pytest.fixture(scope="module", params=["no", "bf16", "fp16"])
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def recipe(
    precision: str,
    base_folder: Path,
    clip_folder: Path,
    blip_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Recipe:
    pictures = tmp_path_factory.mktemp("sources") / "pictures"
    tiny_pictures(pictures, 14)
    return resolve(
        {
            "base": {"model": str(base_folder)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": str(blip_folder), "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "train": {
                "max_train_steps": 24,
                "train_batch_size": 2,
                "checkpointing_steps": 12,
                "validation_steps": 12,
                "learning_rate": 1e-2,
                "mixed_precision": precision,
            },
            "generate": {
                "prompts": ["a red dot"],
                "seeds": [0, 1],
                "num_inference_steps": 2,
                "resolution": 32,
            },
            "compare": {"embedder": str(clip_folder), "held_out_prompts": 2, "general_prompts": ["a dog"]},
        }
    )


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, list[Event]]:
    folder = tmp_path_factory.mktemp("runs") / "first"
    events: list[Event] = []
    return run(recipe, folder, on_event=events.append), events


def test_every_stage_leaves_what_it_should(finished: tuple[RunResult, list[Event]]) -> None:
    result, _ = finished
    expected = [
        "dataset/metadata.csv",
        "cache/index.json",
        "train/candidates.json",
        "train/checkpoints/step-000024",
        "lora/pytorch_lora_weights.safetensors",
        "lora/kohya/first.safetensors",
        "samples/base/000-0.png",
        "samples/tuned/000-1.png",
        "report/index.html",
        "report/metrics.json",
    ]
    assert not [name for name in expected if not (result.root / name).exists()]
    assert [stage.name for stage in result.stages] == list(STAGE_NAMES)
    log = [json.loads(line) for line in (result.root / "train/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 25))
    assert all(0 < line["loss"] < 100 for line in log)


def test_nothing_is_broken_and_the_verdict_is_there(finished: tuple[RunResult, list[Event]]) -> None:
    result, events = finished
    codes = {event.code for event in events if isinstance(event, Notice)}
    assert not codes & {"picture-broken", "vae-tiled", "smaller-batches", "out-of-memory"}
    metrics = json.loads((result.root / "report/metrics.json").read_text())
    assert metrics["verdict"] in {"better", "worse", "trade", "not shown"}
    for measure in metrics["measures"].values():
        assert measure is None or measure["base"] is None or abs(measure["base"]) < 1e6


def test_stages_say_what_they_took_on_the_device_and_hand_it_back(
    finished: tuple[RunResult, list[Event]],
) -> None:
    result, _ = finished
    peaks = {stage.name: stage.peak_device_memory_gib for stage in result.stages}
    assert all(peaks[name] > 0 for name in ("encode", "train", "generate", "compare"))
    assert max(peaks.values()) < 1
    assert torch.cuda.memory_reserved() < 2**28


def test_again_there_is_nothing_to_do(recipe: Recipe, finished: tuple[RunResult, list[Event]]) -> None:
    events: list[Event] = []
    run(recipe, finished[0].root, on_event=events.append)
    assert all(event.skipped for event in events if isinstance(event, StageFinished))


def test_the_plan_measures_the_card_and_leaves_the_generator_alone(recipe: Recipe) -> None:
    before = torch.cuda.get_rng_state()
    planned = plans.plan_for(recipe, 12, 2)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert 0 < planned.seconds_per_step < 1
    assert planned.memory_gib < 2


def test_the_files_are_a_runs_like_any_other(finished: tuple[RunResult, list[Event]]) -> None:
    record = json.loads((Path(finished[0].root) / "run.json").read_text())
    assert set(record["stages"]) == set(STAGE_NAMES)
