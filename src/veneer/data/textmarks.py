"""Suspicion of letters: captions, logos and watermarks show as rows of small marks of one height.

A heuristic without a model: it finds printed lines of five letters or more, misses handwriting and faint
overlays, and may take a row of windows for letters. So what it finds is shown, and never removed unasked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Grey = NDArray[np.float32]

_SIDE_PX = 512
MIN_LETTERS = 5
"""Fewest marks in a row that are taken for a word."""

EDGE_SHARE = 0.18
"""Share of the picture's height, above and below, in which a line of text is likely a watermark."""

_CONTRAST = 24.0
_MIN_HEIGHT_PX, _MAX_HEIGHT_PX = 6, 72


@dataclass(frozen=True)
class Marks:
    """What looks like text.

    Attributes:
        letters: Marks in the longest row; 0 where there is none.
        at_edge: Whether a row lies near the upper or lower edge, as watermarks do.
    """

    letters: int
    at_edge: bool


def find_text(picture: Image.Image) -> Marks:
    """Look for rows of letters.

    Args:
        picture: RGB; looked at with its longer side at `_SIDE_PX` or less.

    Returns:
        What was found.
    """
    small = picture.convert("L")
    small.thumbnail((_SIDE_PX, _SIDE_PX))
    grey = np.asarray(small, dtype=np.float32)
    rows: list[tuple[int, float]] = []
    for signed in (grey, 255 - grey):  # dark letters on light, then light on dark
        rows += _rows(_letter_boxes(signed))
    rows = [row for row in rows if row[0] >= MIN_LETTERS]
    height = grey.shape[0]
    at_edge = any(not EDGE_SHARE < middle / height < 1 - EDGE_SHARE for _, middle in rows)
    return Marks(max((count for count, _ in rows), default=0), at_edge)


def _letter_boxes(grey: Grey) -> NDArray[np.float64]:
    """Boxes of marks darker than their surroundings: top, bottom, left, right; shape (N, 4), by left edge."""
    around = ndimage.uniform_filter(grey, 25, mode="nearest")
    labels, _ = ndimage.label(around - grey > _CONTRAST)
    boxes = [_box(piece, labels, index) for index, piece in enumerate(ndimage.find_objects(labels), 1)]
    kept = sorted((box for box in boxes if box is not None), key=lambda box: box[2])
    return np.asarray(kept, dtype=np.float64).reshape(-1, 4)


def _box(piece: tuple[slice, slice], labels: NDArray[Any], index: int) -> tuple[int, int, int, int] | None:
    height, width = piece[0].stop - piece[0].start, piece[1].stop - piece[1].start
    if not _MIN_HEIGHT_PX <= height <= _MAX_HEIGHT_PX or not 0.08 <= width / height <= 2.0:
        return None
    fill = float((labels[piece] == index).mean())
    if not 0.15 <= fill <= 0.9 and width > height * 0.3:  # only an "l" or "1" fills its box
        return None
    return piece[0].start, piece[0].stop, piece[1].start, piece[1].stop


def _rows(boxes: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Chains of boxes of like height that follow each other on a line: how many, and the line's middle."""
    count = np.ones(len(boxes), dtype=int)
    for later in range(len(boxes)):
        top, bottom, left, _ = boxes[later]
        before = boxes[:later]
        heights = before[:, 1] - before[:, 0]
        height = bottom - top
        gap = left - before[:, 3]
        follows = (gap > -0.2 * height) & (gap < 0.9 * height)
        level = np.abs(before[:, 1] - bottom) < 0.35 * height
        alike = (heights > 0.6 * height) & (heights < 1.67 * height)
        fitting = np.flatnonzero(follows & level & alike)
        if len(fitting):
            count[later] = 1 + count[fitting].max()
    return [(int(n), float(box[0] + box[1]) / 2) for n, box in zip(count, boxes, strict=True)]
