"""What is measured on each picture of a data set; runs in worker processes, and imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageStat
from scipy import ndimage

from veneer.data.phash import perceptual_hash
from veneer.data.picture import decode_picture
from veneer.data.textmarks import find_text
from veneer.records.files import hash_file

LOOK_PX = 512
"""Longer side at which pictures are looked at, in pixels; smaller ones as they are."""

COLOUR_SIDE = 4
EDGES_PX = 64
"""Longer side at which edges are looked for, in pixels."""

INSPECTION_VERSION = 1
"""Counts up when a measure changes: kept measures of another version are taken again."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """Measures of one picture.

    Attributes:
        width: Pixels, upright.
        height: Pixels, upright.
        num_bytes: Size of the file.
        sha256: Hash of the file's bytes.
        phash: Perceptual hash, 64 bits.
        colours: Mean colours of a grid of 4 x 4 fields, 48 bytes: tells apart what has the same shapes.
        entropy: Bits of the histogram of the channel with most tones; 0 for one colour.
        dark: Brightness that 99 % of the pixels stay below, in [0, 1].
        light: Brightness that 95 % of the pixels exceed, in [0, 1].
        sharpness: Score of edges at thumbnail size, in [0, 1]; low where blurred.
        blur: How little it changes when blurred again, in [0, 1]; near 1 where it has no detail to lose.
        letters: Marks in the longest row that looks like text.
        letters_at_edge: Whether such a row lies near the upper or lower edge.
        turned: Whether EXIF stores the picture in another orientation.
    """

    width: int
    height: int
    num_bytes: int
    sha256: str
    phash: int
    colours: bytes
    entropy: float
    dark: float
    light: float
    sharpness: float
    blur: float
    letters: int
    letters_at_edge: bool
    turned: bool


def inspect_picture(path: Path) -> Inspected:
    """Measure one picture.

    Raises:
        DatasetError: If it cannot be decoded to its end.
    """
    decoded = decode_picture(path)
    picture = decoded.picture
    width, height = picture.size
    phash = perceptual_hash(picture)
    picture.thumbnail((LOOK_PX, LOOK_PX))
    five, ninety_nine = np.percentile(_brightness(picture), (5, 99))
    marks = find_text(picture)
    return Inspected(
        width=width,
        height=height,
        num_bytes=path.stat().st_size,
        sha256=hash_file(path),
        phash=phash,
        colours=picture.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX).tobytes(),
        entropy=round(max(0.0, *(channel.entropy() for channel in picture.split())), 3),
        dark=round(float(ninety_nine), 4),
        light=round(float(five), 4),
        sharpness=round(_sharpness(picture), 4),
        blur=round(reblur(picture), 4),
        letters=marks.letters,
        letters_at_edge=marks.at_edge,
        turned="turned upright" in decoded.changes,
    )


def reblur(picture: Image.Image) -> float:
    """Measure blur by blurring again: a sharp picture changes much, a blurred one hardly.

    Args:
        picture: Any mode; at least 3 x 3 pixels say something.

    Returns:
        0 (sharp) to 1 (nothing left to blur); 0 for a picture of one colour, which has no edges to judge by.

    Source: Crete et al. 2007, "The Blur Effect: Perception and Estimation with a New No-Reference Perceptual
    Blur Metric", section 3.
    """
    grey: NDArray[np.float32] = np.asarray(picture.convert("L"), dtype=np.float32)
    shares = []
    for axis in (0, 1):
        blurred = ndimage.uniform_filter1d(grey, 11, axis=axis, mode="nearest")
        step, step_blurred = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        total = float(step.sum())
        lost = float(np.maximum(step - step_blurred, 0).sum())
        shares.append((total - lost) / total if total > 0 else 0.0)
    return max(shares)


def _brightness(picture: Image.Image) -> NDArray[np.float64]:
    """Perceived brightness of every pixel of an RGB picture, in [0, 1], as in the colour model HSP."""
    squares = np.asarray(picture).astype(np.int64) ** 2
    weights = (0.241, 0.691, 0.068)
    total = weights[0] * squares[..., 0] + weights[1] * squares[..., 1] + weights[2] * squares[..., 2]
    return np.asarray(np.sqrt(total) / 255)


def _sharpness(picture: Image.Image) -> float:
    """Deviation of a thumbnail's edges; and of its histogram: few greys make few edges, unblurred."""
    shrink = max(picture.size) / EDGES_PX
    if shrink > 1:
        picture = picture.resize(
            (max(1, int(picture.width // shrink)), max(1, int(picture.height // shrink)))
        )
    grey = picture.convert("L")
    edges = ImageStat.Stat(grey.filter(ImageFilter.FIND_EDGES)).stddev[0]
    spread = _saturated(float(np.std(grey.histogram())))
    return min(1.0, _saturated(edges) + (spread if spread > 0.18 else 0.0))


def _saturated(value: float) -> float:
    """A value from 0 upwards as a score in [0, 1)."""
    return float(1 - np.exp(-0.01 * value))
