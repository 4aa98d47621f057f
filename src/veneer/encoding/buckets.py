"""Aspect-ratio buckets and crops: pure arithmetic on sizes in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ASPECT = 2.0
MUCH_CUT = 0.25
"""Share of a picture's pixels beyond which what cropping takes is worth a word."""


@dataclass(frozen=True)
class Crop:
    """How a picture becomes one of a bucket's size: enlarged or reduced to cover it, then cut.

    Attributes:
        width: Width after resizing, in pixels.
        height: Height after resizing, in pixels.
        left: First column kept, in pixels of the resized picture.
        top: First row kept.
    """

    width: int
    height: int
    left: int
    top: int


def bucket_sizes(resolution: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """Sizes whose area is at most that of the square, with aspect ratios from 1:2 to 2:1.

    Args:
        resolution: Side of the square, in pixels.
        multiple: Both sides are multiples of it, in pixels.

    Returns:
        (width, height) pairs in pixels, narrowest first; the square (rounded down) is always one of them.
    """
    side = _side(resolution, multiple)
    sizes = {(side, side)}
    width = multiple
    while width <= MAX_ASPECT * side:
        height = side * side // width // multiple * multiple
        if height and max(width / height, height / width) <= MAX_ASPECT:
            sizes.add((width, height))
            sizes.add((height, width))
        width += multiple
    return tuple(sorted(sizes))


def bucket_for(
    size: tuple[int, int], resolution: int, multiple: int, *, aspects: bool = True, upscale: bool = False
) -> tuple[int, int]:
    """The bucket of a picture: nearest in aspect ratio, largest in area among equals.

    Args:
        size: Width and height of the picture, in pixels.
        resolution: Side of the square whose area buckets keep, in pixels.
        multiple: Both sides of a bucket are multiples of it, in pixels.
        aspects: Whether aspect ratios are kept; otherwise there is the square alone.
        upscale: Whether pictures may be enlarged; otherwise a picture that does not cover its bucket gets the
            smaller one that keeps most of its pixels, and below ``multiple`` that, the smallest there is.

    Returns:
        Width and height of the bucket, in pixels.
    """
    if not aspects:
        side = _side(resolution if upscale else min(resolution, *size), multiple)
        return side, side
    aspect = math.log(size[0] / size[1])
    sizes = bucket_sizes(resolution, multiple)
    bucket = min(sizes, key=lambda b: (round(abs(math.log(b[0] / b[1]) - aspect), 9), -b[0] * b[1], b))
    if upscale or enlargement(size, bucket) <= 1:
        return bucket
    sides = [range(multiple, max(multiple, min(side, resolution * 2)) + 1, multiple) for side in size]
    fitting = [(w, h) for w in sides[0] for h in sides[1] if w * h <= resolution * resolution]
    return _keeping_most(size, [b for b in fitting if max(b) <= MAX_ASPECT * min(b)] or [fitting[0]])


def enlargement(size: tuple[int, int], bucket: tuple[int, int]) -> float:
    """How much a picture is enlarged, along a side, to cover a bucket.

    Args:
        size: Width and height of the picture, in pixels.
        bucket: Width and height of the bucket, in pixels.

    Returns:
        A factor; below 1 it is reduced.
    """
    return max(bucket[0] / size[0], bucket[1] / size[1])


def crop_for(size: tuple[int, int], bucket: tuple[int, int], variant: int, seed: int, name: str) -> Crop:
    """How a picture is resized and cut for a bucket.

    Args:
        size: Width and height of the picture, in pixels.
        bucket: Width and height of the bucket, in pixels.
        variant: Number of the crop; 0 is the centre, others lie anywhere.
    """
    scale = enlargement(size, bucket)
    width, height = max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale))
    room = width - bucket[0], height - bucket[1]
    if variant == 0:
        return Crop(width, height, room[0] // 2, room[1] // 2)
    from veneer.seeds import numpy_generator  # torch comes with it, which sizes alone do not need

    generator = numpy_generator(seed, "crop", variant, name)
    left, top = (int(generator.integers(0, r + 1)) for r in room)
    return Crop(width, height, left, top)


def share_cut(size: tuple[int, int], bucket: tuple[int, int]) -> float:
    """Share of a picture's pixels that a crop throws away.

    Args:
        size: Width and height of the picture, in pixels.
        bucket: Width and height of the bucket, in pixels.

    Returns:
        A number in [0, 1).
    """
    scale = enlargement(size, bucket)
    return max(0.0, 1 - bucket[0] * bucket[1] / (size[0] * size[1] * scale * scale))


@dataclass(frozen=True)
class Reshaping:
    """What resizing and cropping do to a set of pictures.

    Attributes:
        pictures: How many there are.
        cut_percent: Pixels that cropping throws away, in percent of all pictures' pixels.
        much_cut: Pictures that lose more than `MUCH_CUT` of theirs.
        smaller: Pictures in a smaller bucket than others of their shape, because they are not enlarged.
        enlarged: Pictures that are enlarged.
    """

    pictures: int
    cut_percent: float
    much_cut: int
    smaller: int
    enlarged: int


def reshaping(pictures: Iterable[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]) -> Reshaping:
    """Sum up what resizing and cropping do.

    Args:
        pictures: For each its size, its bucket, and the bucket it would have if it were large; in pixels.
    """
    rows = list(pictures)
    pixels = [width * height for (width, height), _, _ in rows]
    cut = [share_cut(size, bucket) for size, bucket, _ in rows]
    lost = sum(share * count for share, count in zip(cut, pixels, strict=True))
    return Reshaping(
        pictures=len(rows),
        cut_percent=round(100 * lost / max(1, sum(pixels)), 2),
        much_cut=sum(share > MUCH_CUT for share in cut),
        smaller=sum(bucket != large for _, bucket, large in rows),
        enlarged=sum(enlargement(size, bucket) > 1 for size, bucket, _ in rows),
    )


def _side(resolution: int, multiple: int) -> int:
    return max(multiple, resolution // multiple * multiple)


def _keeping_most(size: tuple[int, int], buckets: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return max(buckets, key=lambda b: (round(b[0] * b[1] * (1 - share_cut(size, b))), b))
