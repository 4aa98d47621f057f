"""The cache as a GPU makes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import recipe_for, write_dataset
from veneer import machine
from veneer.encoding import jobs as encodejob
from veneer.events import Event, Notice
from veneer.models.base import encode_pixels
from veneer.records.cache import CacheReader, read_index
from veneer.records.run import RunDir
from veneer.stages import encode as stage
from veneer.stages.encode import encode

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing was tested"),
]


@pytest.fixture(scope="module")
def base_for_bf16(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, with a VAE that doesn't ask for float32."""
    folder = Path(shutil.copytree(base_folder, tmp_path_factory.mktemp("bf16") / "base"))
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"force_upcast": False}))
    return folder


def encoded(root: Path, base: Path, count: int) -> RunDir:
    run = RunDir(root)
    write_dataset(run, count)
    encode(run, recipe_for(base))
    return run


@pytest.mark.parametrize(("asks_for_float32", "tolerance"), [(True, 2e-3), (False, 5e-2)])
def test_the_cache_is_the_cpus_within_rounding(
    base_folder: Path,
    base_for_bf16: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asks_for_float32: bool,
    tolerance: float,
) -> None:
    monkeypatch.setattr(encodejob, "CPU_PIXELS", 5 * 32 * 32 // 8 * 2)  # many batches, of ten views
    base = base_folder if asks_for_float32 else base_for_bf16
    seen: set[torch.dtype] = set()

    def look(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.add(vae.dtype)
        return encode_pixels(vae, pixels)

    monkeypatch.setattr(stage, "encode_pixels", look)
    mine = encoded(tmp_path / "gpu", base, 40)
    assert seen == {torch.float32 if asks_for_float32 else torch.bfloat16}
    monkeypatch.setattr(machine, "pick_device", lambda name="auto": torch.device("cpu"))
    theirs = encoded(tmp_path / "cpu", base, 40)
    assert read_index(mine).items == read_index(theirs).items
    for item in read_index(mine).items:
        a, b = (CacheReader(run.cache).tensors(item.latents) for run in (mine, theirs))
        assert a["mean"].dtype == torch.float32
        assert torch.equal(a["crops"], b["crops"])
        torch.testing.assert_close(a["mean"], b["mean"], rtol=tolerance, atol=tolerance)
        one, other = (CacheReader(run.cache).text(item.text) for run in (mine, theirs))
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def test_too_little_memory_goes_on_in_tiles(
    base_for_bf16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told, failed = RunDir(tmp_path), [], []

    def small_memory(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not vae.use_tiling:
            failed.append(torch.cuda.memory_allocated())
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return encode_pixels(vae, pixels)

    def note(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.code)

    monkeypatch.setattr(stage, "encode_pixels", small_memory)
    write_dataset(run, 12)
    encode(run, recipe_for(base_for_bf16), note)
    assert (len(failed), told.count("vae-tiled")) == (1, 1)
    assert len(list(run.cache.glob("latents/*"))) == 12


def test_memory_is_handed_back(base_folder: Path, tmp_path: Path) -> None:
    machine.hand_back_memory()
    before = torch.cuda.memory_reserved()
    with machine.measure() as usage:
        encoded(tmp_path, base_folder, 12)
        block = torch.empty(2**28, dtype=torch.uint8, device="cuda")
        del block
        assert usage().peak_device_memory_gib >= 0.25
    assert torch.cuda.memory_reserved() < before + 2**25
