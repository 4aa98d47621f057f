"""The step as CUDA graphs: the numbers of the plain one, faster; and the same bits where asked for."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from helpers.training import copy_run, encoded_run, log_lines, recipe_for, train_quietly, weights_hashes
from veneer.config import Recipe
from veneer.events import Event, Notice, StepEvent
from veneer.records.cache import read_index
from veneer.records.run import RunDir
from veneer.stages.train import train
from veneer.training import trainer
from veneer.training.step import recorded
from veneer.training.step.prefetch import Prefetcher

pytestmark = pytest.mark.gpu
STEPS = 12
TRAIN = {"max_train_steps": STEPS, "validation_steps": STEPS, "checkpointing_steps": STEPS}
CASES = {
    "fp32, 1": {"train_batch_size": 1},
    "bf16, 1": {"train_batch_size": 1, "mixed_precision": "bf16"},
    "bf16, 4": {"train_batch_size": 4, "mixed_precision": "bf16"},
    "fp16, 4": {"train_batch_size": 4, "mixed_precision": "fp16"},
    "fp32, 2 x 2, averaged": {"gradient_accumulation_steps": 2, "ema_decay": 0.9},
    "bf16, recomputed": {"gradient_checkpointing": True, "mixed_precision": "bf16"},
}


@pytest.fixture(scope="module")
def base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with a UNet of as many layers as Stable Diffusion's, each of them small."""
    import shutil

    folder = Path(shutil.copytree(base_folder, tmp_path_factory.mktemp("gpu") / "base"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        diffusers.UNet2DConditionModel(
            sample_size=16, block_out_channels=(32, 64, 64, 64), norm_num_groups=8, attention_head_dim=4,
            cross_attention_dim=16,
        ).save_pretrained(folder / "unet")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def ready(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    recipe = recipe_for(base, encode={"buckets": True, "resolution": 64})
    run = encoded_run(tmp_path_factory.mktemp("ready") / "run", recipe)
    assert len({item.bucket for item in read_index(run).split("train")}) == 2
    return run


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One word for each recording, and one for each play."""
    done: list[str] = []
    original = recorded.CudaRecorder.__call__

    def record(self: Any, body: Callable[[], Any]) -> Callable[..., Any]:
        done.append("recorded")
        play = original(self, body)
        return lambda: (done.append("played"), play())

    monkeypatch.setattr(recorded.CudaRecorder, "__call__", record)
    return done


def recipe(base: Path, **settings: Any) -> Recipe:
    return recipe_for(base, train=TRAIN | settings)


def notices(events: list[Event]) -> list[str]:
    return [f"{event.code}: {event.message}" for event in events if isinstance(event, Notice)]


def both(ready: RunDir, folder: Path, base: Path, **settings: Any) -> tuple[RunDir, RunDir, list]:
    plain, played = copy_run(ready, folder / "plain"), copy_run(ready, folder / "played")
    train_quietly(plain, recipe(base, cuda_graph=False, **settings))
    _, events = train_quietly(played, recipe(base, **settings))
    return plain, played, events


def same_losses(run: RunDir, other: RunDir, rel: float) -> None:
    for key in ("loss", "grad_norm"):
        mine, yours = ([line[key] or math.nan for line in log_lines(one)] for one in (run, other))
        assert mine == pytest.approx(yours, rel=rel if key == "loss" else 10 * rel, nan_ok=True)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_graphs_give_the_plain_losses(
    ready: RunDir, base: Path, tmp_path: Path, graphs: list[str], settings: Any
) -> None:
    plain, played, events = both(ready, tmp_path, base, **settings)
    assert notices(events) == []
    assert graphs.count("recorded") == 3
    assert graphs.count("played") == STEPS * (settings.get("gradient_accumulation_steps", 1) + 1)
    same_losses(played, plain, 2e-2 if "mixed_precision" in settings else 1e-3)


def test_a_bad_batch_is_skipped(
    ready: RunDir, base: Path, tmp_path: Path, graphs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Prefetcher.at

    def at(self: Any, step: int) -> list[Any]:
        found = original(self, step)
        return [replace(b, weights=b.weights * math.nan) for b in found] if step == 5 else found

    monkeypatch.setattr(Prefetcher, "at", at)
    plain, played, events = both(ready, tmp_path, base)
    assert [line.split(":")[0] for line in notices(events)] == ["not-a-number"]
    assert log_lines(played)[4]["loss"] is None
    same_losses(played, plain, 1e-3)


@pytest.mark.parametrize("while_recording", [False, True])
def test_too_little_memory_halves(
    ready: RunDir,
    base: Path,
    tmp_path: Path,
    graphs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    while_recording: bool,
) -> None:
    """The allocator itself refuses, in the middle of a pass."""
    original = trainer.Trainer.__init__

    def little(self: Any, parts: Any) -> None:
        def loss(batch: Any) -> Any:
            value = parts.loss(batch)
            if len(batch.timesteps) > 2 and torch.cuda.is_current_stream_capturing() == while_recording:
                torch.empty(2**50, device="cuda")
            return value

        original(self, replace(parts, loss=loss))

    monkeypatch.setattr(trainer.Trainer, "__init__", little)
    plain, played, events = both(ready, tmp_path, base, train_batch_size=4)
    assert [line.split(":")[0] for line in notices(events)] == ["out-of-memory"]
    same_losses(played, plain, 1e-3)
    assert graphs.count("played") == STEPS * (2 + 1)


def test_what_is_read_while_recording_is_told(
    ready: RunDir, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = trainer.Trainer.__init__

    def looking(self: Any, parts: Any) -> None:
        def loss(batch: Any) -> Any:
            value = parts.loss(batch)
            float(value)
            return value

        original(self, replace(parts, loss=loss))

    monkeypatch.setattr(trainer.Trainer, "__init__", looking)
    plain, played, events = both(ready, tmp_path, base)
    assert len(notices(events)) == 1
    assert "recording failed" in notices(events)[0]
    same_losses(played, plain, 1e-3)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_resumed_is_uninterrupted_to_the_byte_where_asked(
    ready: RunDir, base: Path, tmp_path: Path, precision: str
) -> None:
    settings = recipe(
        base, deterministic=True, mixed_precision=precision, ema_decay=0.9, checkpointing_steps=4
    )
    whole, cut = copy_run(ready, tmp_path / "whole"), copy_run(ready, tmp_path / "cut")
    train_quietly(whole, settings)
    seen: list[int] = []

    def stop(event: Event) -> None:
        if isinstance(event, StepEvent) and not seen:
            seen.append(event.step)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(cut, settings, stop)
    train_quietly(cut, settings)
    hashes = weights_hashes(cut)
    assert {name: hashes[name] for name in weights_hashes(whole)} == weights_hashes(whole)
    assert [line["loss"] for line in log_lines(cut)] == [line["loss"] for line in log_lines(whole)]


def test_a_small_batch_is_twice_as_fast(ready: RunDir, base: Path, tmp_path: Path) -> None:
    seconds = {}
    kinds = {"plain": {"cuda_graph": False}, "played": {}, "played, same bits": {"deterministic": True}}
    small = {"mixed_precision": "bf16", "train_batch_size": 1}
    long = {"max_train_steps": 60, "validation_steps": 60, "checkpointing_steps": 60}
    for name, settings in kinds.items():
        run = copy_run(ready, tmp_path / name)
        train_quietly(run, recipe(base, **small, **long, **settings))
        taken = sorted(line["seconds"] for line in log_lines(run))
        seconds[name] = taken[len(taken) // 2]
    print({name: f"{1000 * taken:.2f} ms a step" for name, taken in seconds.items()})
    assert seconds["played"] < seconds["plain"] / 2, seconds
