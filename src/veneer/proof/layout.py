"""What lies where in a picture, whatever its marks: thumbnails held against each other.

An embedder takes a tomato for a copy of an apple, and a copy in blocks for another picture. Thumbnails do
neither: pictures of one style that training never saw stay below `COPY` (docs/verdict.md), copies above it,
also where they are moved, mirrored, brighter, blurred, or a little closer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
Box = tuple[float, float, float, float]
Rows = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Layouts:
    """Likeness of the pairs to each training picture, in [-1, 1]: correlation of thumbnails, 1 is the same.

    Attributes:
        base: Pictures of the base, shape (N, T).
        tuned: Pictures of the tuned model, shape (N, T).
        threshold: Likeness above which a picture is a copy, in [`COPY`, `ONE_PICTURE`].
    """

    base: Array
    tuned: Array
    threshold: float

    def cut(self, rows: Sequence[int]) -> Layouts:
        """Only some of the pairs."""
        return replace(self, base=self.base[list(rows)], tuned=self.tuned[list(rows)])


def layouts(pairs: Sequence[Pair], training: Sequence[Path]) -> Layouts:
    """Hold all pairs against all training pictures.

    Args:
        pairs: The pairs, N >= 1.
        training: Pictures that training saw, T >= 2.

    Raises:
        RunError: If a picture cannot be read.
    """
    known = views_of(training)
    base, tuned = (likeness([getattr(pair, side) for pair in pairs], known) for side in ("base", "tuned"))
    rows = range(0, len(training), max(1, len(training) // PICTURES_KNOWN))
    own = likeness([training[row] for row in rows], known)
    own[np.arange(len(own)), list(rows)] = -1.0
    return Layouts(base, tuned, copy_threshold(own))


def views_of(training: Sequence[Path]) -> Rows:
    """Training pictures as they may come back, V = 4 views each; shape (T, V, D).

    Raises:
        RunError: If a picture cannot be read.
    """
    return np.stack([_known(path) for path in training])


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


def likeness(pictures: Sequence[Path], known: Rows) -> Array:
    """The best correlation over small moves, mirroring and a closer look.

    Args:
        pictures: N pictures.
        known: Views of T training pictures, shape (T, V, D).

    Returns:
        Shape (N, T), in [-1, 1].
    """
    views = known.reshape(-1, known.shape[-1]).T
    shape = (-1, *known.shape[:2])
    found = [(_asked(path) @ views).reshape(shape).max(axis=(0, 2)) for path in pictures]
    return np.asarray(found, float).reshape(len(pictures), len(known))


def _known(path: Path) -> Rows:
    """A training picture as it may come back: whole or its middle square, as it is or closer; (4, D)."""
    picture = read_picture(path)
    wide, high = picture.size
    edge = min(wide, high)
    middle = ((wide - edge) / 2, (high - edge) / 2, (wide + edge) / 2, (high + edge) / 2)
    boxes = [each for box in ((0.0, 0.0, float(wide), float(high)), middle) for each in (box, _closer(box))]
    return np.stack([_middle(_thumbnail(picture, box)) for box in boxes])


def _asked(path: Path) -> Rows:
    """A drawn picture moved and mirrored, and closer; (2 (2 S + 1)^2 + 2, D)."""
    picture = read_picture(path)
    whole = (0.0, 0.0, float(picture.width), float(picture.height))
    seen, near = _thumbnail(picture, whole), _thumbnail(picture, _closer(whole))
    return np.stack([*_moved(seen), *_moved(seen[:, ::-1]), *map(_middle, (near, near[:, ::-1]))])


def _moved(thumbnail: Rows) -> Iterator[Rows]:
    moves = range(2 * SHIFT_PX + 1)
    return (_centre(thumbnail, top, left) for top in moves for left in moves)


def _middle(thumbnail: Rows) -> Rows:
    return _centre(thumbnail, SHIFT_PX, SHIFT_PX)


def _closer(box: Box) -> Box:
    left, top, right, bottom = box
    x, y = (1 - CLOSER) / 2 * (right - left), (1 - CLOSER) / 2 * (bottom - top)
    return left + x, top + y, right - x, bottom - y


def _thumbnail(picture: Image.Image, box: Box) -> Rows:
    small = picture.resize((LAYOUT_PX, LAYOUT_PX), Image.Resampling.BILINEAR, box=box)
    return np.asarray(small, np.float32)


def _centre(thumbnail: Rows, top: int, left: int) -> Rows:
    """A part of it as a row of mean 0 and length 1; all zero where it shows nothing."""
    side = LAYOUT_PX - 2 * SHIFT_PX
    row = thumbnail[top : top + side, left : left + side].reshape(-1)
    row = row - row.mean()
    length = float(np.linalg.norm(row))
    return np.asarray(row / length if length else row, np.float32)
