"""The bench of false alarms: what it remembers is what it would see, and what it counts are comparisons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import bench_null
from veneer.models.embedder import Embedders, choose_embedders


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    monkeypatch.setattr(bench_null, "NUM_SEEDS", 3)
    random = np.random.default_rng(0)
    rows = [[tmp_path / f"{prompt}-{seed}.png" for seed in range(3)] for prompt in range(6)]
    for path in (path for row in rows for path in row):
        Image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return rows


def test_features_are_remembered_in_the_order_asked(files: list[list[Path]]) -> None:
    clip = choose_embedders("pocket", "pocket").clip
    remembering = bench_null.Remembering(**vars(clip))
    first, second, third = files[0]
    remembering.image_features([second, first])
    asked = [first, third, second, first]
    assert remembering.image_features(asked) == pytest.approx(clip.image_features(asked), abs=1e-5)
    third.unlink()
    assert len(remembering.image_features([third])) == 1


def test_every_comparison_is_counted_once(files: list[list[Path]]) -> None:
    clip = choose_embedders("pocket", "pocket").clip
    found = bench_null.compare_with_itself(files, 4, Embedders(bench_null.Remembering(**vars(clip)), None))
    assert sum(found.get(word, 0) for word in ("better", "worse", "trade", "not shown")) == 1


def test_a_set_that_always_falls_is_never_no_different(
    files: list[list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the two sides of a pair the same picture, or swapped at random, this would find nothing."""
    for row in files:
        Image.new("RGB", (64, 64), "white").save(row[2])

    class Chosen:
        def choice(self, *given: Any, **options: Any) -> Any:
            return 0, 2

    monkeypatch.setattr(bench_null.np.random, "default_rng", lambda seed: Chosen())
    clip = choose_embedders("pocket", "pocket").clip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("veneer.stats.mean_interval", _always_sure)
        found = bench_null.compare_with_itself(
            files, 2, Embedders(bench_null.Remembering(**vars(clip)), None)
        )
    assert found["worse"] == 1
    assert found["broken-pictures"] == 1


def _always_sure(values: Any, *, seed: int = 0, level: float = 0.95) -> tuple[tuple[float, float], str]:
    return (float(np.mean(values)), float(np.mean(values))), ""
