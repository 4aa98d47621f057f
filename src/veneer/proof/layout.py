"""What lies where in a picture, whatever its marks: thumbnails held against each other.

An embedder takes a tomato for a copy of an apple, and a copy in blocks for another picture. Thumbnails do
neither: pictures of one style that training never saw stay below `COPY` (docs/verdict.md), copies above it,
also where they are moved, mirrored, brighter, blurred, or a little closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from veneer.intervals import Array
from veneer.proof.pairs import Pair, read_picture

LAYOUT_PX, SHIFT_PX = 48, 3
"""Side of a thumbnail, and how far two of them are moved against each other, each way."""
CLOSER = 0.9
"""Part of a picture's side that is seen where it is looked at more closely."""
COPY, ONE_PICTURE = 0.93, 0.98
"""Likeness above which a picture is no other one of its style, and above which two are the same."""
QUANTILE = 0.98
"""Share of training pictures whose own nearest neighbour is less alike than the threshold."""
PICTURES_KNOWN = 256
"""Most training pictures that are held against all others for the threshold."""
COARSE_PX, COARSE_SHIFT_PX, CANDIDATES = 12, 1, 64
"""Side and moves of the first look, and how many training pictures get a second one for each picture."""
Box = tuple[float, float, float, float]
Rows = np.ndarray[Any, np.dtype[np.float32]]
Thumbnails = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Layouts:
    """Likeness of the pairs to each training picture, in [-1, 1]: correlation of thumbnails, 1 is the same.

    Attributes:
        base: Pictures of the base, shape (N, T); -1 for those beyond its `CANDIDATES` nearest.
        tuned: Pictures of the tuned model, shape (N, T).
        threshold: Likeness above which a picture is a copy, in [`COPY`, `ONE_PICTURE`].
        held_out: Held-out pictures of the style, shape (H, T).
    """

    base: Array
    tuned: Array
    threshold: float
    held_out: Array = field(default_factory=lambda: np.empty((0, 1)))

    def cut(self, rows: Sequence[int]) -> Layouts:
        """Only some of the pairs."""
        return replace(self, base=self.base[list(rows)], tuned=self.tuned[list(rows)])


@dataclass(frozen=True)
class KnownLayouts:
    """T training pictures as they may come back, V views each: whole or the middle square, each closer too.

    Attributes:
        thumbnails: Shape (T, V, `LAYOUT_PX`, `LAYOUT_PX`, 3).
        coarse: Their first looks as rows of length 1, shape (T, V, D).
    """

    thumbnails: Thumbnails
    coarse: Rows


def layouts(pairs: Sequence[Pair], training: Sequence[Path], held_out: Sequence[Path] = ()) -> Layouts:
    """Hold all pairs, and what was held out, against all training pictures.

    Args:
        pairs: The pairs, N >= 1.
        training: Pictures that training saw, T >= 2.
        held_out: Pictures of the style that it should not have seen.

    Raises:
        RunError: If a picture cannot be read.
    """
    known = known_layouts(training)
    base, tuned = (likeness([getattr(pair, side) for pair in pairs], known) for side in ("base", "tuned"))
    rows = range(0, len(training), max(1, len(training) // PICTURES_KNOWN))
    own = likeness([training[row] for row in rows], known)
    own[np.arange(len(own)), list(rows)] = -1.0
    return Layouts(base, tuned, copy_threshold(own), likeness(held_out, known))


def known_layouts(training: Sequence[Path]) -> KnownLayouts:
    """Look at training pictures, each read once.

    Raises:
        RunError: If a picture cannot be read.
    """
    thumbnails = np.stack([_views(path) for path in training])
    coarse = np.stack([_inner(_coarse(views), COARSE_SHIFT_PX) for views in thumbnails])
    return KnownLayouts(thumbnails, coarse)


def copy_threshold(own: Array) -> float:
    """Likeness above which a picture is nearer to a training picture than two of these are to each other.

    The same picture twice in the training set must not hide copies of it: neighbours above `ONE_PICTURE`
    are left out.

    Args:
        own: Likeness of training pictures to all of them, shape (K, T); that to itself is -1.

    Source: Somepalli et al. 2023, "Diffusion Art or Digital Forgery?", section 5, for a threshold that the
    training set itself sets.
    """
    nearest = np.where(own < ONE_PICTURE, own, -1.0).max(axis=1)
    return float(np.clip(np.quantile(nearest, QUANTILE), COPY, ONE_PICTURE))


def likeness(pictures: Sequence[Path], known: KnownLayouts) -> Array:
    """The best correlation over small moves, mirroring and a closer look.

    A first look at small thumbnails finds the `CANDIDATES` training pictures that are worth a second one, so
    that ten thousand of them cost hardly more than a hundred.

    Args:
        pictures: N pictures.

    Returns:
        Shape (N, T), in [-1, 1]; -1 for training pictures that were not looked at twice.
    """
    found = np.full((len(pictures), len(known.thumbnails)), -1.0)
    for row, path in enumerate(pictures):
        seen, near = _asked(path)
        nearest = _candidates(seen, near, known.coarse)
        found[row, nearest] = _best(_moved(seen, near, SHIFT_PX), _inner(known.thumbnails[nearest], SHIFT_PX))
    return found


def _candidates(seen: Thumbnails, near: Thumbnails, coarse: Rows) -> np.ndarray[Any, np.dtype[np.intp]]:
    if len(coarse) <= CANDIDATES:
        return np.arange(len(coarse))
    alike = _best(_moved(_coarse(seen), _coarse(near), COARSE_SHIFT_PX), coarse)
    return np.argpartition(-alike, CANDIDATES)[:CANDIDATES]


def _best(asked: Rows, known: Rows) -> Rows:
    """The best correlation of any of (A, D) with any view of each of (T, V, D); shape (T,)."""
    alike = asked @ known.reshape(-1, known.shape[-1]).T
    return np.asarray(alike.reshape(len(asked), *known.shape[:2]).max(axis=(0, 2)))


def _views(path: Path) -> Thumbnails:
    """A training picture's thumbnails, (V = 4, S, S, 3)."""
    picture = read_picture(path)
    wide, high = picture.size
    edge = min(wide, high)
    middle = ((wide - edge) / 2, (high - edge) / 2, (wide + edge) / 2, (high + edge) / 2)
    boxes = [each for box in ((0.0, 0.0, float(wide), float(high)), middle) for each in (box, _closer(box))]
    return np.stack([_thumbnail(picture, box) for box in boxes])


def _asked(path: Path) -> tuple[Thumbnails, Thumbnails]:
    """A drawn picture's thumbnails: whole, and closer."""
    picture = read_picture(path)
    whole = (0.0, 0.0, float(picture.width), float(picture.height))
    return _thumbnail(picture, whole), _thumbnail(picture, _closer(whole))


def _moved(seen: Thumbnails, near: Thumbnails, shift: int) -> Rows:
    """A picture moved and mirrored, and closer, as rows; (2 (2 S + 1)^2 + 2, D)."""
    side = len(seen) - 2 * shift
    both = np.stack([seen, seen[:, ::-1]])
    moved = np.moveaxis(np.lib.stride_tricks.sliding_window_view(both, (side, side), axis=(1, 2)), 3, 5)
    return np.concatenate(
        [_rows(moved).reshape(-1, side * side * 3), _inner(np.stack([near, near[:, ::-1]]), shift)]
    )


def _inner(thumbnails: Thumbnails, shift: int) -> Rows:
    """All but ``shift`` pixels around of each of (..., S, S, 3), as rows."""
    return _rows(thumbnails[..., shift:-shift, shift:-shift, :])


def _rows(parts: Thumbnails) -> Rows:
    """Each of (..., S, S, 3) as a row of mean 0 and length 1, or of zeros; shape (..., D)."""
    rows = parts.reshape(*parts.shape[:-3], -1).astype(np.float32)
    rows -= rows.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    np.divide(rows, lengths, out=rows, where=lengths > 0)
    return rows


def _closer(box: Box) -> Box:
    left, top, right, bottom = box
    x, y = (1 - CLOSER) / 2 * (right - left), (1 - CLOSER) / 2 * (bottom - top)
    return left + x, top + y, right - x, bottom - y


def _thumbnail(picture: Image.Image, box: Box) -> Thumbnails:
    return np.asarray(picture.resize((LAYOUT_PX, LAYOUT_PX), Image.Resampling.BILINEAR, box=box))


def _coarse(thumbnails: Thumbnails) -> Thumbnails:
    part = LAYOUT_PX // COARSE_PX
    blocks = thumbnails.reshape(*thumbnails.shape[:-3], COARSE_PX, part, COARSE_PX, part, 3)
    return np.asarray(blocks.mean(axis=(-4, -2)), np.uint8)
