"""What the marks of a picture are like, whatever they show: statistics of differences between near pixels.

A network that was taught to name things is taught to overlook style; the bundled CLIP hardly tells a
pixelated cat from a smooth one. These statistics do, and know nothing of cats.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from veneer.proof.pairs import Pair, View
from veneer.stats import Array, Measure, paired

DISTANCES = (1, 2, 4, 8)
"""Distances between the two pixels of a difference, in pixels."""
FLAT, STEEP = 4 / 255, 0.25
"""Differences below the first count as none, above the second as an edge; full range is 1."""
FLOOR = 1e-3


def texture_view(pairs: Sequence[Pair], held_out: Sequence[Path], training: Sequence[Path] = ()) -> View:
    """Texture statistics of pictures, at the side of the base's.

    Args:
        pairs: The pairs, at least one, of one size.
        held_out: Pictures of the style that training never saw, of any size.
        training: Pictures that training saw, of any size.

    Returns:
        Statistics as rows, which are not of unit length.
    """
    with Image.open(pairs[0].base) as first:
        side = first.width
    sides = [pair.base for pair in pairs], [pair.tuned for pair in pairs]
    before, after, real, seen = (_statistics(paths, side) for paths in (*sides, held_out, training))
    return View(before, after, None, real, seen)


def texture_measure(view: View, prompts: Sequence[Hashable]) -> Measure:
    """Nearness of texture to held-out pictures of the style.

    Each statistic is put on the scale of base and held-out pictures, zero half-way between the two: the tuned
    pictures have no say in what counts as near. The base's pictures of the pair's own prompt are left out of
    its scale: otherwise they alone would be measured by themselves, and any other picture would seem nearer.

    Args:
        view: Texture statistics, with at least one held-out picture.
        prompts: Prompt of each pair.

    Returns:
        Mean cosine similarity of texture statistics to the held-out pictures; higher is better.

    Source: Portilla & Simoncelli 2000, "A Parametric Texture Model", for the idea that joint statistics of
    filter outputs stand for a texture; the filters here are plain differences.
    """
    nearness = [
        _nearness(
            np.stack([view.base[row], view.tuned[row]]), view.base[_others(row, prompts)], view.held_out
        )
        for row in range(len(view.base))
    ]
    return paired([pair[0] for pair in nearness], [pair[1] for pair in nearness], prompts)


def texture_statistics(pixels: np.ndarray[Any, Any]) -> Array:
    """Statistics of one picture.

    Args:
        pixels: Red, green and blue, shape (H, W, 3), in [0, 1].

    Returns:
        A vector; its length depends on nothing but this module.
    """
    grey = pixels.mean(axis=2)
    planes = (grey, pixels[..., 0] - pixels[..., 1], grey - pixels[..., 2])
    found: list[float] = []
    for plane in planes:
        for distance in DISTANCES:
            found += _of_differences(plane[:, distance:] - plane[:, :-distance])
            found += _of_differences(plane[distance:] - plane[:-distance])
    return np.asarray(found)


def _nearness(shown: Array, others: Array, real: Array) -> Array:
    """Mean cosine similarity of each row to the real ones, on the scale of others and real ones."""
    middle = (others.mean(axis=0) + real.mean(axis=0)) / 2
    spread = np.vstack([others, real]).std(axis=0) + 1e-6
    similarities = _unit((shown - middle) / spread) @ _unit((real - middle) / spread).T
    return np.asarray(similarities.mean(axis=1))


def _others(row: int, prompts: Sequence[Hashable]) -> list[int]:
    """Rows of other prompts; where there are none, of other pictures; the row itself where it is alone."""
    rows = range(len(prompts))
    other_prompts = [one for one in rows if prompts[one] != prompts[row]]
    return other_prompts or [one for one in rows if one != row] or [row]


def _of_differences(differences: np.ndarray[Any, Any]) -> list[float]:
    size = np.abs(differences)
    mean, power = float(size.mean()), float(np.sqrt((size**2).mean()))
    logs = [float(np.log(mean + FLOOR)), float(np.log(power + FLOOR))]
    return [*logs, float((size < FLAT).mean()), float((size > STEEP).mean())]


def _statistics(paths: Sequence[Path], side: int) -> Array:
    rows = [texture_statistics(_square(path, side)) for path in paths]
    return np.stack(rows) if rows else np.empty((0, 0))


def _square(path: Path, side: int) -> np.ndarray[Any, Any]:
    """The middle of a picture at the side of the drawn ones, (side, side, 3) in [0, 1]."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    resample = Image.Resampling.BOX if edge >= side else Image.Resampling.BICUBIC
    shown = picture.resize((side, side), resample, box=(left, top, left + edge, top + edge))
    return np.asarray(shown, float) / 255


def _unit(rows: Array) -> Array:
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12))
