"""Steps that are recorded and played, on a CPU: they are the plain steps, whatever happens on the way."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.marks import heavy_but
from helpers.tape import LookedError, Recorder, Tape
from helpers.training import copy_run, encoded_run, log_lines, recipe_for, train_quietly, weights_hashes
from veneer.config import Recipe
from veneer.events import Event, Notice, StepEvent
from veneer.records.cache import read_index
from veneer.records.run import RunDir
from veneer.stages import train as stage
from veneer.stages.train import train
from veneer.training import checkpoints, trainer
from veneer.training.step import recorded
from veneer.training.step.prefetch import Prefetcher

CAPTION = {"prefix": "a picture"}
SETTINGS = {
    "plain": {},
    "one picture": {"train": {"train_batch_size": 1}},
    "accumulated, averaged": {"train": {"gradient_accumulation_steps": 2, "ema_decay": 0.9}},
    "half precision": {"train": {"mixed_precision": "bf16"}},
    "recomputed": {"train": {"gradient_checkpointing": True}},
    "weighted": {"train": {"loss_weighting": "min_snr", "loss_type": "huber", "noise_offset": 0.1}},
    "perturbed, masked": {"train": {"input_perturbation": 0.1, "masked_loss": True}},
    "prior": {"train": {"prior_loss_weight": 0.5}, "caption": CAPTION},
    "masked ranks": {"lora": {"timestep_rank": True}},
    "magnitudes": {"lora": {"use_dora": True}},
    "convolutions, two rates": {
        "lora": {"target_modules": "attention+ff+conv"},
        "train": {"loraplus_ratio": 4},
    },
}
QUICK = ("plain", "accumulated, averaged", "prior", "masked ranks", "magnitudes")
"""Settings that leave the plain step furthest; the others are heavy."""


@pytest.fixture(scope="module")
def ready(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    train = {"prior_loss_weight": 0.5}
    recipe = recipe_for(base_folder, train=train, caption=CAPTION, encode={"buckets": True})
    return encoded_run(tmp_path_factory.mktemp("static") / "run", recipe)


@pytest.fixture
def run(ready: RunDir, tmp_path: Path) -> RunDir:
    return copy_run(ready, tmp_path / "run")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    own = Recorder()
    monkeypatch.setattr(recorded, "recorder_for", lambda device: own)
    return own


def notices(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Notice)]


def shapes_of(run: RunDir) -> int:
    items = read_index(run).split("train")
    return len({item.bucket for item in items})


def same_training(run: RunDir, other: RunDir, rel: float = 1e-5) -> None:
    for key in ("loss", "grad_norm", "grad_norm_clipped"):
        mine, yours = ([line[key] or math.nan for line in log_lines(one)] for one in (run, other))
        assert mine == pytest.approx(yours, rel=rel, nan_ok=True)
    assert [line["lr"] for line in log_lines(run)] == [line["lr"] for line in log_lines(other)]
    steps = checkpoints.saved_steps(run.checkpoints)
    assert steps[-1] == checkpoints.saved_steps(other.checkpoints)[-1]
    ours, theirs = (checkpoints.load(one.checkpoint(steps[-1])) for one in (run, other))
    for file, tensors in theirs.tensors.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(ours.tensors[file][name], tensor, rtol=20 * rel, atol=1e-6)


def interrupt_after(run: RunDir, recipe: Recipe, step: int) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)

    train(run, recipe, on_event)


def plainly(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"cuda_graph": False})})


def both(ready: RunDir, folder: Path, recorder: Recorder, recipe: Recipe) -> tuple[RunDir, RunDir, list]:
    """Train plainly and by recordings."""
    plain, played = copy_run(ready, folder / "plain"), copy_run(ready, folder / "played")
    train_quietly(plain, plainly(recipe))
    assert recorder.recordings == 0
    _, events = train_quietly(played, recipe)
    return plain, played, events


def quick(base: Path, **settings: Any) -> Recipe:
    train = {"max_train_steps": 4, "validation_steps": 4, "checkpointing_steps": 4}
    return recipe_for(base, **settings | {"train": train | settings.get("train", {})})


@pytest.mark.parametrize("settings", heavy_but(QUICK, SETTINGS))
def test_played_steps_are_the_plain_ones(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, settings: Any
) -> None:
    plain, played, events = both(ready, tmp_path, recorder, quick(base_folder, **settings))
    same_training(played, plain, rel=1e-2 if "mixed_precision" in str(settings) else 1e-5)
    assert notices(events) == []
    parts = settings.get("train", {}).get("gradient_accumulation_steps", 1)
    assert shapes_of(played) == 2
    assert recorder.recordings == 2 + 1
    assert recorder.plays == 4 * (parts + 1)


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Batches of some steps hold no numbers."""
    original = Prefetcher.at

    def at(self: Any, step: int) -> list[Any]:
        bad = step in steps
        return [replace(b, weights=b.weights * math.nan) if bad else b for b in original(self, step)]

    monkeypatch.setattr(Prefetcher, "at", at)


def test_a_bad_batch_is_skipped_and_nothing_else(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {3})
    recipe = quick(base_folder, train={"ema_decay": 0.5})
    plain, played, events = both(ready, tmp_path, recorder, recipe)
    same_training(played, plain)
    assert notices(events) == ["not-a-number"]
    state = checkpoints.load(played.checkpoint(4)).tensors["optimizer"]
    assert {float(tensor) for name, tensor in state.items() if name.endswith(".step")} == {3}
    assert log_lines(played)[2]["loss"] is None


def test_going_back_finds_the_earlier_state(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {3, 4, 5})
    recipe = quick(base_folder, train={"max_train_steps": 7, "checkpointing_steps": 2})
    plain, played, events = both(ready, tmp_path, recorder, recipe)
    same_training(played, plain)
    assert notices(events) == ["not-a-number"] * 3 + ["went-back", "not-a-number"]
    assert recorder.recordings > 3


def test_too_little_memory_halves_and_records_anew(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = trainer.Trainer.__init__

    def small_memory(self: Any, parts: Any) -> None:
        def loss(batch: Any) -> Any:
            if len(batch.timesteps) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return parts.loss(batch)

        original(self, replace(parts, loss=loss))

    monkeypatch.setattr(trainer.Trainer, "__init__", small_memory)
    plain, played, events = both(ready, tmp_path, recorder, quick(base_folder, train={"train_batch_size": 4}))
    same_training(played, plain)
    assert notices(events) == ["out-of-memory"]
    assert recorder.recordings == 3


def test_a_preview_that_finds_no_memory_gets_that_of_the_recordings(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def preview(step: int) -> None:
        seen.append(step)
        if len(seen) % 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stage, "preview_maker", lambda *parts: preview)
    plain, played, _ = both(ready, tmp_path, recorder, quick(base_folder, train={"preview_steps": 2}))
    same_training(played, plain)
    assert seen == [0, 0, 2, 2, 4, 4] * 2
    assert recorder.recordings > 3


def test_resumed_is_uninterrupted_to_the_byte(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder
) -> None:
    recipe = recipe_for(base_folder, train={"ema_decay": 0.9, "gradient_accumulation_steps": 2})
    whole, cut = copy_run(ready, tmp_path / "whole"), copy_run(ready, tmp_path / "cut")
    train_quietly(whole, recipe)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(cut, recipe, 4)
    train_quietly(cut, recipe)
    hashes = weights_hashes(cut)
    assert {name: hashes[name] for name in weights_hashes(whole)} == weights_hashes(whole)


def test_a_run_goes_on_with_recordings_and_without(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder
) -> None:
    recipe = recipe_for(base_folder)
    whole, turns = copy_run(ready, tmp_path / "whole"), copy_run(ready, tmp_path / "turns")
    train_quietly(whole, plainly(recipe))
    for step, one in ((2, plainly(recipe)), (4, recipe)):
        with pytest.raises(KeyboardInterrupt):
            interrupt_after(turns, one, step)
    assert recorder.plays == 2 * 2
    train_quietly(turns, plainly(recipe))
    same_training(turns, whole)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"text_encoder": True}, "text encoder, which is trained along"),
        ({"embedding_token": "picture", "embedding_init": "city"}, "text encoder, which is trained along"),
        ({"dropout": 0.1}, "lora.dropout draws anew"),
    ],
)
def test_what_cannot_be_recorded_is_told_once(
    run: RunDir, base_folder: Path, recorder: Recorder, settings: dict[str, Any], reason: str
) -> None:
    _, events = train_quietly(run, quick(base_folder, lora=settings))
    told = [event.message for event in events if isinstance(event, Notice)]
    assert len(told) == 1
    assert reason in told[0]
    assert recorder.recordings == 0


def test_other_optimizers_run_between_recordings(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder
) -> None:
    plain, played, events = both(
        ready, tmp_path, recorder, quick(base_folder, train={"optimizer": "adafactor"})
    )
    assert weights_hashes(played) == weights_hashes(plain)
    assert notices(events) == ["no-cuda-graph"]
    assert (recorder.recordings, recorder.plays) == (2, 4)


def test_a_recording_that_fails_is_told_once_and_training_goes_on(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looking(self: Any, body: Callable[[], None]) -> None:
        with Tape():
            body()
            float(torch.ones(()))

    monkeypatch.setattr(Recorder, "__call__", looking)
    plain, played, events = both(ready, tmp_path, recorder, quick(base_folder))
    same_training(played, plain)
    assert notices(events) == ["no-cuda-graph"]
    told = [event.message for event in events if isinstance(event, Notice)]
    assert "recording failed" in told[0]


def test_more_shapes_than_are_recorded_run_plainly(
    ready: RunDir, tmp_path: Path, base_folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MAX_SHAPES", 1)
    plain, played, events = both(ready, tmp_path, recorder, quick(base_folder))
    same_training(played, plain)
    assert notices(events) == ["no-cuda-graph"]
    assert recorder.recordings == 1 + 1


def test_a_value_that_is_looked_at_is_noticed_here() -> None:
    for look in (float, bool, lambda x: x.item(), lambda x: x[x > 0], lambda x: x.nonzero()):
        with pytest.raises(LookedError), Tape():
            look(torch.ones(1))
