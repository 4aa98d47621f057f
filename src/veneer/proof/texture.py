"""What the marks of a picture are like, whatever they show: statistics of differences between near pixels.

A network that was taught to name things is taught to overlook style; the bundled CLIP hardly tells a
pixelated cat from a smooth one. These statistics do, and know nothing of cats.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from veneer.intervals import Array, Chance
from veneer.proof.pairs import Pair, View
from veneer.stats import Measure, paired

DISTANCES = (1, 2, 4, 8)
"""Distances between the two pixels of a difference, in pixels."""
FLAT, STEEP = 4 / 255, 0.25
"""Differences below the first count as none, above the second as an edge; full range is 1."""
FLOOR = 1e-3
CONTRAST, LEAST_CONTRAST = 0.25, 0.01
"""Deviation of grey values that every picture is brought to, and the least that one is taken to have."""


def _blurred(pixels: np.ndarray[Any, Any], times: float = 1.0) -> np.ndarray[Any, Any]:
    reach = times * max(1.0, pixels.shape[0] / 128)
    return np.asarray(ndimage.gaussian_filter(pixels, (reach, reach, 0)))


Filter = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
FILTERS: Mapping[str, Filter] = {
    "more contrast": lambda pixels: np.clip(0.5 + 1.4 * (pixels - 0.5), 0, 1),  # what is clipped is lost
    "blurred": _blurred,
    "sharpened": lambda pixels: np.clip(pixels + 1.5 * (pixels - _blurred(pixels)), 0, 1),
    "much sharper": lambda pixels: np.clip(pixels + 2 * (pixels - _blurred(pixels, 2.0)), 0, 1),
}
"""What anybody can do to the base's pictures without a model."""
STYLE_VIEWS = 3
"""Measures that answer whether the style came nearer: CLIP, DINO and texture."""


@dataclass(frozen=True)
class TextureView(View):
    """Texture statistics of pictures; rows are not of unit length.

    Attributes:
        filtered: The base's pictures through each of `FILTERS`, shape (F, N, D), numbers for the first
            picture of each prompt only; None where that is not looked at.
    """

    filtered: Array | None = None

    def cut(self, rows: Sequence[int]) -> TextureView:
        """Only some of the pairs."""
        kept = None if self.filtered is None else self.filtered[:, list(rows)]
        return TextureView(
            self.base[list(rows)], self.tuned[list(rows)], None, self.held_out, self.training, kept
        )


def texture_view(
    pairs: Sequence[Pair], held_out: Sequence[Path], training: Sequence[Path] = ()
) -> TextureView:
    """Texture statistics of pictures, at the side of the base's.

    Args:
        pairs: The pairs, at least one, of one size.
        held_out: Pictures of the style that training never saw, of any size.
        training: Pictures that training saw, of any size.

    Returns:
        Statistics as rows.
    """
    with Image.open(pairs[0].base) as first:
        side = first.width
    sides = [pair.base for pair in pairs], [pair.tuned for pair in pairs]
    before, after, real, seen = (texture_rows(paths, side) for paths in (*sides, held_out, training))
    filtered = np.full((len(FILTERS), *before.shape), np.nan)
    prompts = [pair.prompt for pair in pairs]
    shown = sorted({prompts.index(prompt) for prompt in prompts})
    filtered[:, shown] = filtered_rows([pairs[row].base for row in shown], side)
    return TextureView(before, after, None, real, seen, filtered)


def texture_measure(
    view: TextureView, prompts: Sequence[Hashable], seeds: Sequence[Hashable] | None = None
) -> Measure:
    """Nearness of texture to held-out pictures of the style.

    Each statistic is put on the scale of base and held-out pictures, zero half-way between the two: the tuned
    pictures have no say in what counts as near. The base's pictures of the pair's own prompt are left out of
    its scale: otherwise they alone would be measured by themselves, and any other picture would seem nearer.

    Blur, sharpness and clipping move these statistics too, and are no style: the tuned pictures must gain
    more than the base's own would through the best of `FILTERS`.

    Args:
        view: Texture statistics, with at least one held-out picture.

    Returns:
        Mean cosine similarity of texture statistics to the held-out pictures; higher is better.

    Source: Portilla & Simoncelli 2000, "A Parametric Texture Model", for the idea that joint statistics of
    filter outputs stand for a texture; the filters here are plain differences.
    """
    others = () if view.filtered is None else tuple(view.filtered)
    shown = np.stack([view.base, view.tuned, *others], axis=1)
    known = view.training if len(view.training) else view.held_out[:0]
    nearness = np.stack(
        [
            _nearness(shown[row], view.base[_others(row, prompts)], view.held_out, known)
            for row in range(len(shown))
        ]
    )
    ideal = _ideal(view.base, view.held_out)
    sides = nearness[:, 0], nearness[:, 1]
    measure = nearness_measure(*sides, len(view.held_out), prompts, seeds=seeds, ideal=ideal)
    return replace(measure, least=_filter_gain(nearness[:, :, : len(view.held_out)].mean(axis=2)))


def _filter_gain(nearness: Array) -> float:
    """What the best of the filters gains on the base, (N, 2 + F) with the base first; 0 where none gains."""
    looked_at = nearness[~np.isnan(nearness).any(axis=1)]
    if nearness.shape[1] <= 2 or not len(looked_at):
        return 0.0
    return max(0.0, float((looked_at[:, 2:] - looked_at[:, :1]).mean(axis=0).max()))


def nearness_measure(
    befores: Array,
    afters: Array,
    num_held_out: int,
    prompts: Sequence[Hashable],
    *,
    seeds: Sequence[Hashable] | None = None,
    ideal: float | None = None,
) -> Measure:
    """Nearness to held-out pictures, whose choice is a chance like that of the prompts.

    How much real pictures of the style differ in this is read from held-out and training pictures alike: four
    held-out ones alone could hardly tell. The level of the two may differ, their spread is one style's.

    Args:
        befores: Nearness of the base's pictures to each real one, shape (N, H + T), held-out ones first.
        afters: The same of the tuned model's.
        num_held_out: H, >= 1.
        ideal: What held-out pictures give among each other.

    Returns:
        The measure, one of `STYLE_VIEWS` that answer the same question.
    """
    gains = (afters - befores).mean(axis=0)
    parts = [part for part in (gains[:num_held_out], gains[num_held_out:]) if len(part) > 1]
    freedom = sum(len(part) - 1 for part in parts)
    also = []
    if freedom:
        spread = sum(float(((part - part.mean()) ** 2).sum()) for part in parts) / freedom
        also = [Chance(spread / num_held_out, freedom)]
    sides = befores[:, :num_held_out].mean(axis=1), afters[:, :num_held_out].mean(axis=1)
    return paired(*sides, prompts, seeds=seeds, also=also, questions=STYLE_VIEWS, ideal=ideal)


def texture_statistics(pixels: np.ndarray[Any, Any]) -> Array:
    """Statistics of one picture, whatever its brightness and contrast: those are no texture.

    Args:
        pixels: Red, green and blue, shape (H, W, 3), in [0, 1].

    Returns:
        A vector; its length depends on nothing but this module.
    """
    pixels = pixels * (CONTRAST / max(float(pixels.mean(axis=2).std()), LEAST_CONTRAST))
    grey = pixels.mean(axis=2)
    planes = (grey, pixels[..., 0] - pixels[..., 1], grey - pixels[..., 2])
    found: list[float] = []
    for plane in planes:
        for distance in DISTANCES:
            found += _of_differences(plane[:, distance:] - plane[:, :-distance])
            found += _of_differences(plane[distance:] - plane[:-distance])
    return np.asarray(found)


def _nearness(shown: Array, others: Array, held_out: Array, training: Array) -> Array:
    """Cosine similarity of each row to every real one, on the scale of others and held-out ones."""
    middle = (others.mean(axis=0) + held_out.mean(axis=0)) / 2
    spread = np.vstack([others, held_out]).std(axis=0) + 1e-6
    real = np.vstack([held_out, training])
    return np.asarray(_unit((shown - middle) / spread) @ _unit((real - middle) / spread).T)


def _ideal(base: Array, held_out: Array) -> float | None:
    """Nearness of held-out pictures to each other."""
    if len(held_out) < 2:
        return None
    likeness = _nearness(held_out, base, held_out, held_out[:0])
    return float((likeness.sum() - np.trace(likeness)) / (len(held_out) * (len(held_out) - 1)))


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


def texture_rows(paths: Sequence[Path], side: int) -> Array:
    """Statistics of pictures, each at a side in pixels; a row for each."""
    rows = [texture_statistics(_square(path, side)) for path in paths]
    return np.stack(rows) if rows else np.empty((0, 0))


def filtered_rows(paths: Sequence[Path], side: int) -> Array:
    """Statistics of N >= 1 pictures through each of `FILTERS`, each at a side in pixels; shape (F, N, D)."""
    squares = [_square(path, side) for path in paths]
    return np.stack(
        [[texture_statistics(change(pixels)) for pixels in squares] for change in FILTERS.values()]
    )


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
