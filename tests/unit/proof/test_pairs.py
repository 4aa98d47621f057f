"""Pairs of pictures seen through an embedder."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from veneer.proof.pairs import Pair, view_pairs


class Shaky:
    """An embedder whose last bits depend on the place in the batch."""

    name = "shaky"

    def image_features(self, files: list[Path]) -> np.ndarray:
        return np.random.default_rng(0).normal(0.5, 1e-9, (len(files), 4))

    def text_features(self, texts: list[str]) -> None:
        return None


def test_the_same_picture_has_the_same_features_wherever_it_stands(tmp_path: Path) -> None:
    for name, shade in (("a", 10), ("copy", 10), ("other", 11)):
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(tmp_path / f"{name}.png")
    paths = {name: tmp_path / f"{name}.png" for name in ("a", "copy", "other")}
    pairs = [Pair("p", "recipe", 0, paths["a"], paths[name]) for name in ("copy", "other")]
    shaky: Any = Shaky()
    view = view_pairs(shaky, pairs, [paths["a"]], [])
    assert np.array_equal(view.base[0], view.tuned[0])
    assert not np.array_equal(view.base[1], view.tuned[1])
    assert len(view.held_out) == 1
