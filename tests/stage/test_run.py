"""The whole path on the tiny random base: every stage, resumed and repeated, as one command does it."""

import json
from pathlib import Path
from typing import Any

import pytest

import veneer
from helpers.tiny import tiny_pictures
from veneer import run
from veneer.config import Recipe
from veneer.events import Event, StageFinished
from veneer.lora.tensorfile import read_tensors
from veneer.outcomes import RunResult
from veneer.recipe import resolve
from veneer.records.checksums import damaged_files
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES


@pytest.fixture(scope="module")
def recipe(base_folder: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    pictures = tmp_path_factory.mktemp("sources") / "pictures"
    tiny_pictures(pictures, 14)
    return resolve(
        {
            "base": {"model": str(base_folder)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": "none", "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "train": {
                "max_train_steps": 6,
                "checkpointing_steps": 3,
                "validation_steps": 3,
                "learning_rate": 1e-2,
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
    events: list[Any] = []
    return run(recipe, folder, on_event=events.append), events


def test_every_contract_file_is_there(finished: tuple[RunResult, list[Event]]) -> None:
    result, _ = finished
    expected = [
        "recipe.toml",
        "run.json",
        "dataset/metadata.csv",
        "dataset/provenance.jsonl",
        "cache/index.json",
        "train/log.jsonl",
        "train/candidates.json",
        "train/checkpoints/step-000003",
        "lora/pytorch_lora_weights.safetensors",
        "lora/kohya/first.safetensors",
        "samples/base/000-0.png",
        "samples/tuned/000-1.png",
        "report/index.html",
        "report/grid.png",
        "report/metrics.json",
        "report/report.md",
    ]
    missing = [name for name in expected if not (result.root / name).exists()]
    assert not missing


def test_metrics_hold_the_contract(finished: tuple[RunResult, list[Event]]) -> None:
    metrics = json.loads((finished[0].root / "report/metrics.json").read_text())
    assert metrics["verdict"] in {"better", "worse", "trade", "not shown"}
    assert metrics["chosen_step"] in {3, 6}
    assert metrics["prompts"] and metrics["seeds"] == [0, 1]
    names = {"style", "prompt", "diversity", "memorisation", "forgetting", "validation_loss"}
    assert set(metrics["measures"]) >= names
    for measure in metrics["measures"].values():
        assert measure is None or set(measure) >= {"base", "tuned", "delta", "ci95", "n", "wins"}


def test_the_lora_says_at_which_strength_it_was_compared(
    finished: tuple[RunResult, list[Event]], recipe: Recipe
) -> None:
    folder = RunDir(finished[0].root)
    text = read_tensors(folder.kohya_file, "LoRA")[1]
    assert text["modelspec.usage_hint"] == f"strength {recipe.compare.scale:g}"
    assert damaged_files(folder, "export") == []


def test_the_log_has_one_line_a_step(finished: tuple[RunResult, list[Event]]) -> None:
    lines = (finished[0].root / "train/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    keys = {"step", "loss", "lr", "grad_norm", "grad_norm_clipped", "images_per_second", "seconds"}
    assert set(json.loads(lines[0])) >= keys


def test_each_stage_reports_its_seconds_and_its_own_peak(finished: tuple[RunResult, list[Event]]) -> None:
    stages = json.loads((finished[0].root / "run.json").read_text())["stages"]
    assert list(stages) == list(STAGE_NAMES)
    assert all(stage["seconds"] > 0 and stage["peak_memory_gib"] > 0 for stage in stages.values())


def test_the_same_command_again_skips_everything(
    finished: tuple[RunResult, list[Event]], recipe: Recipe
) -> None:
    result, _ = finished
    before = (result.root / "lora/pytorch_lora_weights.safetensors").stat().st_mtime_ns
    events: list[Any] = []
    run(recipe, result.root, on_event=events.append)
    assert all(event.skipped for event in events if isinstance(event, StageFinished))
    assert (result.root / "lora/pytorch_lora_weights.safetensors").stat().st_mtime_ns == before


def test_plain_diffusers_draws_the_same_picture(
    finished: tuple[RunResult, list[Event]], base_folder: Path
) -> None:
    import numpy as np
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
    from PIL import Image

    root = finished[0].root
    pipe = StableDiffusionPipeline.from_pretrained(base_folder, safety_checker=None)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights(root / "lora", weight_name="pytorch_lora_weights.safetensors")
    drawn = pipe(
        "a red dot",
        generator=torch.Generator("cpu").manual_seed(1),
        num_inference_steps=2,
        guidance_scale=7.5,
        height=32,
        width=32,
    ).images[0]
    ours = np.asarray(Image.open(root / "samples/tuned/000-1.png").convert("RGB"), dtype=int)
    assert np.abs(ours - np.asarray(drawn, dtype=int)).max() <= 1


def test_a_run_opened_again_hands_out_diffusers_own_pipeline_that_draws_as_it_did(
    finished: tuple[RunResult, list[Event]],
) -> None:
    import numpy as np
    import torch
    from diffusers import StableDiffusionPipeline
    from PIL import Image

    root = finished[0].root
    result = veneer.open_run(str(root))
    assert [stage.name for stage in result.stages] == list(STAGE_NAMES)
    assert (result.verdict, result.reasons) == (finished[0].verdict, finished[0].reasons)
    pipe = result.pipeline()
    assert type(pipe) is StableDiffusionPipeline
    settings: Any = {"num_inference_steps": 2, "guidance_scale": 7.5, "height": 32, "width": 32}
    for scale, folder in ((None, "tuned"), (0.0, "base")):
        pipe = result.pipeline(scale)
        drawn = pipe("a red dot", generator=torch.Generator("cpu").manual_seed(1), **settings).images[0]
        ours = np.asarray(Image.open(root / f"samples/{folder}/000-1.png").convert("RGB"), dtype=int)
        assert np.abs(ours - np.asarray(drawn, dtype=int)).max() <= 1
    with pytest.raises(veneer.VeneerError, match="not a run folder"):
        veneer.open_run(root.parent)


def test_a_run_a_comparison_and_a_lora_show_themselves_in_a_notebook(
    finished: tuple[RunResult, list[Event]],
) -> None:
    root = finished[0].root
    pages: list[Any] = [veneer.open_run(root), veneer.compare(root), veneer.inspect(root / "lora")]
    run_page, comparison, lora = (page._repr_html_() for page in pages)
    assert finished[0].verdict in run_page and "index.html" in run_page and "base64" in run_page
    assert "a red dot" not in comparison and "verdict:" in comparison and comparison.count("<img") == 8
    assert "rank 4" in lora and "strongest" in lora
