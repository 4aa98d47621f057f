"""Pictures as a GPU draws them, and what is seen in them there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from veneer import machine
from veneer.config import GenerateTable
from veneer.events import Event, Notice
from veneer.models import sampling
from veneer.models.embedder import load_embedder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing was tested"),
]
TABLE = GenerateTable(num_inference_steps=4, guidance_scale=2.0)
JOBS = [(prompt, seed) for prompt in ("a dog", "the city", "a red circle") for seed in range(3)]


def arrays(sampler: sampling.Sampler) -> np.ndarray:
    return np.stack([np.asarray(one.image, float) for one in sampling.sample(sampler, JOBS)])


@pytest.mark.parametrize("side", [32, 64])
def test_pictures_are_the_cpus_within_rounding(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    mine = arrays(sampling.load_sampler(str(base_folder), TABLE, side_px=side))
    monkeypatch.setattr(sampling, "pick_device", lambda: torch.device("cpu"))
    theirs = arrays(sampling.load_sampler(str(base_folder), TABLE, side_px=side))
    others = np.abs(theirs - np.roll(theirs, 1, axis=0)).mean()
    assert np.abs(mine - theirs).mean() < 0.2 * others


def test_company_makes_no_difference(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampling.load_sampler(str(base_folder), TABLE)
    together = arrays(sampler)
    monkeypatch.setattr(sampling, "GPU_PIXELS", 1)
    assert sampler.batch_size == 1
    alone = arrays(sampler)
    others = np.abs(together - np.roll(together, 1, axis=0)).mean()
    assert np.abs(together - alone).mean() < 0.1 * others


def test_a_card_that_is_too_small_draws_fewer_at_once(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = GenerateTable(num_inference_steps=1, guidance_scale=2.0)
    sampler = sampling.load_sampler(str(base_folder), table, side_px=256)
    monkeypatch.setattr(sampling, "GPU_PIXELS", 256 * 256 * 256)
    machine.hand_back_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = torch.cuda.memory_reserved() + 3 * 2**28
    told: list[Event] = []
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        drawn = list(sampling.sample(sampler, [("a dog", seed) for seed in range(256)], told.append))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(drawn) == 256
    assert [event.code for event in told if isinstance(event, Notice)].count("smaller-batches") >= 1


def test_equal_pictures_have_equal_features_in_any_company(clip_folder: Path, picture_folder: Path) -> None:
    machine.set_threads()
    assert torch.backends.cuda.matmul.allow_tf32
    clip = load_embedder(str(clip_folder), "cuda")
    files = sorted(picture_folder.iterdir())
    together = clip.image_features(files)
    alone = np.concatenate([clip.image_features([file]) for file in files])
    on_cpu = load_embedder(str(clip_folder)).image_features(files)
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - on_cpu).max() < 2e-5
