"""Training on the tiny base: what comes out, and that it is the same however it came about."""

from __future__ import annotations

import errno
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import copy_run, encoded_run, log_lines, recipe_for, train_quietly, weights_hashes
from veneer.config import Recipe
from veneer.errors import RunError, TrainingError
from veneer.events import CheckpointEvent, Event, Notice, PreviewEvent, StepEvent, ValidationEvent
from veneer.records import files
from veneer.records.run import RunDir
from veneer.training import checkpoints, previews, trainer
from veneer.training.network import Network


@pytest.fixture(scope="module")
def ready(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return encoded_run(tmp_path_factory.mktemp("ready") / "run", recipe_for(base_folder))


@pytest.fixture
def run(ready: RunDir, tmp_path: Path) -> RunDir:
    return copy_run(ready, tmp_path / "run")


def test_training_lowers_the_held_out_loss_and_chooses_the_lowest(run: RunDir, base_folder: Path) -> None:
    result, events = train_quietly(run, recipe_for(base_folder, train={"max_train_steps": 9}))
    told = json.loads(run.candidates_json.read_text())
    assert result.chosen.loss is not None
    assert result.base_loss is not None
    assert result.chosen.loss < result.base_loss
    assert [c["step"] for c in told["candidates"]] == [3, 6, 9]
    assert told["chosen"]["loss"] == min(c["loss"] for c in told["candidates"])
    assert (run.root / told["chosen"]["path"]).is_file()
    assert len(told["base"]["losses"]) == len(told["pictures"]) == 4
    assert [e.step for e in events if isinstance(e, ValidationEvent)] == [0, 3, 6, 9]
    assert [e.step for e in events if isinstance(e, CheckpointEvent)] == [3, 6, 9]
    assert [line["step"] for line in log_lines(run)] == list(range(1, 10))


def test_clipping_is_logged_before_and_after_and_acts(run: RunDir, base_folder: Path) -> None:
    _, events = train_quietly(run, recipe_for(base_folder, train={"max_grad_norm": 0.01}))
    steps = [e for e in events if isinstance(e, StepEvent)]
    assert all(e.grad_norm > 0.01 for e in steps)
    assert all(e.grad_norm_clipped == pytest.approx(0.01, rel=1e-3) for e in steps)


def test_resumed_is_uninterrupted_to_the_byte(run: RunDir, base_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(base_folder, train={"ema_decay": 0.9, "gradient_accumulation_steps": 2})
    other = copy_run(run, tmp_path / "other")
    train_quietly(run, recipe)
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(other, recipe, 4)
    assert [line["step"] for line in log_lines(other)] == [1, 2, 3, 4]
    train_quietly(other, recipe)
    hashes = weights_hashes(other)
    assert {k: hashes[k] for k in weights_hashes(run)} == weights_hashes(run)
    assert [line["loss"] for line in log_lines(other)] == [line["loss"] for line in log_lines(run)]
    assert run.candidates_json.read_bytes() == other.candidates_json.read_bytes()


def interrupt_after(run: RunDir, recipe: Recipe, step: int) -> None:
    import os
    import signal

    from veneer.stages.train import train

    def on_event(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)

    train(run, recipe, on_event)


def test_a_changed_recipe_is_refused_with_the_difference(run: RunDir, base_folder: Path) -> None:
    train_quietly(run, recipe_for(base_folder))
    with pytest.raises(RunError, match=r"train.learning_rate: 0.001 -> 0.002"):
        train_quietly(run, recipe_for(base_folder, train={"learning_rate": 2e-3}))
    train_quietly(run, recipe_for(base_folder, train={"checkpoints_total_limit": 1}))


def test_a_damaged_checkpoint_falls_back_loudly(run: RunDir, base_folder: Path) -> None:
    recipe = recipe_for(base_folder)
    train_quietly(run, recipe)
    expected = weights_hashes(run)
    damaged = run.checkpoint(6) / "adapter.safetensors"
    raw = bytearray(damaged.read_bytes())
    raw[-1] ^= 1
    damaged.write_bytes(bytes(raw))
    _, events = train_quietly(run, recipe)
    assert [e.code for e in events if isinstance(e, Notice)] == ["checkpoint-damaged"]
    assert [e.step for e in events if isinstance(e, StepEvent)] == [4, 5, 6]
    assert weights_hashes(run) == expected
    assert [line["step"] for line in log_lines(run)] == [1, 2, 3, 4, 5, 6]


def test_checkpoints_rotate_but_the_chosen_weights_stay(run: RunDir, base_folder: Path) -> None:
    train = {
        "checkpointing_steps": 2,
        "validation_steps": 2,
        "checkpoints_total_limit": 1,
        "learning_rate": 1e-4,
    }
    result, _ = train_quietly(run, recipe_for(base_folder, train=train))
    assert checkpoints.saved_steps(run.checkpoints) == [6]
    assert (run.root / str(result.chosen.path)).is_file()


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> list[int]:
    seen: list[int] = []
    original = trainer.Trainer._accumulate

    def accumulate(self: Any) -> None:
        original(self)
        seen.append(self.step)
        if self.step in steps:
            self._gradients.loss.fill_(math.nan)
            self._gradients._gradients.fill_(math.nan)

    monkeypatch.setattr(trainer.Trainer, "_accumulate", accumulate)
    return seen


def test_a_step_without_a_number_is_not_applied(
    run: RunDir, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {7})
    result, events = train_quietly(run, recipe_for(base_folder, train={"max_train_steps": 9}))
    before = checkpoints.load(run.checkpoint(6)).tensors["optimizer"]
    after = checkpoints.load(run.checkpoint(9)).tensors["optimizer"]
    name = next(k for k in after if k.endswith(".step"))
    assert (float(before[name]), float(after[name])) == (6, 8)
    assert [e.code for e in events if isinstance(e, Notice)] == ["not-a-number"]
    assert log_lines(run)[6]["loss"] is None
    assert all(
        torch.isfinite(t).all() for t in checkpoints.load(run.checkpoint(9)).tensors["adapter"].values()
    )
    assert json.loads(run.candidates_json.read_text())["events"][0]["step"] == 7
    assert result.steps == 9


def test_three_bad_steps_go_back_with_half_the_rate(
    run: RunDir, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {4, 5, 6}
    seen = poison(monkeypatch, bad)
    recipe = recipe_for(base_folder, train={"max_train_steps": 8, "lr_scheduler": "constant"})

    def heal(event: Event) -> None:
        if isinstance(event, Notice) and event.code == "went-back":
            bad.clear()

    from veneer.stages.train import train

    train(run, recipe, heal)
    assert seen == [1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8]
    assert [line["lr"] for line in log_lines(run)] == [1e-3] * 3 + [5e-4] * 5
    codes = [e["code"] for e in json.loads(run.candidates_json.read_text())["events"]]
    assert codes == ["not-a-number"] * 3 + ["went-back"]


def test_numbers_that_stay_bad_end_with_an_error(
    run: RunDir, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = poison(monkeypatch, set(range(1, 100)))
    with pytest.raises(TrainingError, match="after going back 2 times"):
        train_quietly(run, recipe_for(base_folder))
    assert seen == [1, 2, 3] * 3


def test_a_full_disk_is_told_and_leaves_older_checkpoints(
    run: RunDir, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(base_folder)
    original = files.sync_tree

    def full(folder: Path) -> None:
        if folder.name.startswith(".step-000006."):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(folder)

    monkeypatch.setattr(files, "sync_tree", full)
    with pytest.raises(RunError, match="disk is full"):
        train_quietly(run, recipe)
    assert checkpoints.saved_steps(run.checkpoints) == [3]
    assert not list(run.checkpoints.glob("*partial"))
    monkeypatch.setattr(files, "sync_tree", original)
    assert train_quietly(run, recipe)[0].steps == 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a traceback may still hold mapped files


def pages(folder: Path) -> int:
    """Bytes that a folder takes on a tmpfs."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("too_small_for", ["log", "candidate", "checkpoint"])
def test_a_file_system_that_fills_up_leaves_what_was_saved(
    ready: RunDir, base_folder: Path, tmp_path: Path, small_disk: Path, too_small_for: str
) -> None:
    from veneer.stages.train import train

    whole, run = copy_run(ready, tmp_path / "whole"), copy_run(ready, small_disk / "run")
    recipe = recipe_for(base_folder, train={"ema_decay": 0.9})
    train_quietly(whole, recipe)
    checkpoint = pages(whole.checkpoint(3))
    judged = 3 * pages(next((whole.train / "candidates").iterdir()))  # weights and average, and one to spare
    free_bytes = {"log": 0, "candidate": 4096, "checkpoint": judged + checkpoint // 2}[too_small_for]
    filler = small_disk / "filler"

    def fill(event: Event) -> None:
        if isinstance(event, CheckpointEvent) and event.step == 3:
            free = shutil.disk_usage(small_disk).free
            filler.write_bytes(bytes(max(0, free - free_bytes)))

    with pytest.raises(RunError, match="disk is full") as told:
        train(run, recipe, fill)
    assert (told.value.where == str(run.checkpoints)) == (too_small_for == "checkpoint")
    assert checkpoints.saved_steps(run.checkpoints) == [3]
    assert not list(run.train.rglob("*partial"))
    checkpoints.load(run.checkpoint(3))
    filler.unlink()
    train_quietly(run, recipe)
    assert weights_hashes(run) == weights_hashes(whole)


def test_too_little_memory_halves_the_micro_batch_with_the_same_losses(
    run: RunDir, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(base_folder, train={"train_batch_size": 4, "max_train_steps": 3})
    other = copy_run(run, tmp_path / "other")
    train_quietly(other, recipe)
    original = trainer.Trainer.__init__

    def small_memory(self: Any, parts: Any) -> None:
        def loss(batch: Any) -> Any:
            if len(batch.timesteps) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return parts.loss(batch)

        original(self, parts.__class__(**{**vars(parts), "loss": loss}))

    monkeypatch.setattr(trainer.Trainer, "__init__", small_memory)
    _, events = train_quietly(run, recipe)
    assert [e.code for e in events if isinstance(e, Notice)] == ["out-of-memory"]
    losses = [line["loss"] for line in log_lines(run)]
    assert losses == pytest.approx([line["loss"] for line in log_lines(other)], rel=1e-5)


def test_too_little_memory_for_judging_takes_fewer_pictures_at_once(
    run: RunDir, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(base_folder, train={"train_batch_size": 1, "max_train_steps": 1})
    other = copy_run(run, tmp_path / "other")
    plenty, _ = train_quietly(other, recipe)
    original = Network.predict

    def small_memory(
        self: Any, noisy_latents: torch.Tensor, timesteps: torch.Tensor, told: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        if len(timesteps) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, noisy_latents, timesteps, told)

    monkeypatch.setattr(Network, "predict", small_memory)
    little, events = train_quietly(run, recipe)
    assert [e.code for e in events if isinstance(e, Notice)] == ["out-of-memory"]
    assert little.base_loss == pytest.approx(plenty.base_loss, rel=1e-5)
    assert little.chosen.loss == pytest.approx(plenty.chosen.loss, rel=1e-5)


def test_patience_ends_a_run_whose_loss_does_not_fall(
    run: RunDir, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"validation_steps": 1, "patience": 2, "max_train_steps": 20, "learning_rate": 1e-20}
    result, _ = train_quietly(run, recipe_for(base_folder, train=train))
    assert result.steps == 3
    assert "did not fall in 2 validations" in str(result.stopped)
    assert train_quietly(run, recipe_for(base_folder, train=train))[0].steps == 3


def test_average_and_moving_average_are_candidates(run: RunDir, base_folder: Path) -> None:
    recipe = recipe_for(base_folder, train={"ema_decay": 0.5, "average_last": 2})
    train_quietly(run, recipe)
    kinds = [c["kind"] for c in json.loads(run.candidates_json.read_text())["candidates"]]
    assert kinds == ["step", "ema", "step", "ema", "average"]


def test_the_last_can_be_chosen(run: RunDir, base_folder: Path) -> None:
    result, _ = train_quietly(run, recipe_for(base_folder, train={"choose": "last"}))
    assert result.chosen.step == 6
    assert (run.root / str(result.chosen.path)).is_file()


def test_the_nearest_style_can_be_chosen(run: RunDir, base_folder: Path, clip_folder: Path) -> None:
    recipe = recipe_for(
        base_folder,
        train={"choose": "style", "learning_rate": 0.3},
        generate={"prompts": ("a city",), "seeds": (0, 1), "num_inference_steps": 2, "resolution": 32},
        compare={"embedder": str(clip_folder)},
    )
    result, _ = train_quietly(run, recipe)
    told = json.loads(run.candidates_json.read_text())
    styles = [c["style"] for c in told["candidates"]]
    assert len(set(styles)) == 2
    assert result.chosen.style == max(styles)
    assert "nearest style of 2 candidates" in result.reason
    assert (run.root / str(result.chosen.path)).is_file()


def test_without_a_cache_it_says_what_to_run(tmp_path: Path, base_folder: Path) -> None:
    with pytest.raises(RunError, match="veneer encode"):
        train_quietly(RunDir(tmp_path), recipe_for(base_folder))


def test_previews_are_drawn_on_the_way_and_change_no_byte(
    run: RunDir, base_folder: Path, tmp_path: Path
) -> None:
    draw = {"prompts": ("a city", "a dog", "a third"), "num_inference_steps": 2, "resolution": 32}
    tables: dict[str, Any] = {"lora": {"dropout": 0.2, "text_encoder": True}, "generate": draw}
    settings: dict[str, Any] = {"learning_rate": 0.3, "ema_decay": 0.9}
    other = copy_run(run, tmp_path / "other")
    _, events = train_quietly(run, recipe_for(base_folder, train=settings | {"preview_steps": 3}, **tables))
    names = [
        e.path.relative_to(run.train / "previews").as_posix() for e in events if isinstance(e, PreviewEvent)
    ]
    assert names == [f"step-{s:06d}/{p:03d}-0.png" for s in (0, 3, 6) for p in (0, 1)]
    pictures = [(run.train / "previews" / name).read_bytes() for name in names]
    assert len(set(pictures)) == 6
    train_quietly(other, recipe_for(base_folder, train=settings, **tables))
    assert weights_hashes(other) == weights_hashes(run)
    assert [line["loss"] for line in log_lines(other)] == [line["loss"] for line in log_lines(run)]


def test_a_preview_that_fails_is_told_and_changes_no_byte(
    run: RunDir, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy_run(run, tmp_path / "other")
    train_quietly(other, recipe_for(base_folder, lora={"dropout": 0.2}))

    def no_room(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(previews, "sample", no_room)
    _, events = train_quietly(run, recipe_for(base_folder, lora={"dropout": 0.2}, train={"preview_steps": 3}))
    told = [e.message for e in events if isinstance(e, Notice) and e.code == "no-preview"]
    assert [line[:20] for line in told] == [f"no preview at step {step}"[:20] for step in (0, 3, 6)]
    assert weights_hashes(other) == weights_hashes(run)
