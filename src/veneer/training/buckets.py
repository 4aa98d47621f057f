"""Aspect-ratio buckets and crops: pure arithmetic on sizes in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_ASPECT = 2.0


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
    size: tuple[int, int], resolution: int, multiple: int, *, aspects: bool = True, upscale: bool = True
) -> tuple[int, int]:
    """The bucket of a picture: nearest in aspect ratio, largest in area among equals.

    Args:
        size: Width and height of the picture, in pixels.
        resolution: Side of the square whose area buckets keep, in pixels.
        multiple: Both sides of a bucket are multiples of it, in pixels.
        aspects: Whether aspect ratios are kept; otherwise there is the square alone.
        upscale: Whether pictures may be enlarged; otherwise a smaller picture gets a smaller bucket.

    Returns:
        Width and height of the bucket, in pixels.
    """
    if not upscale:
        resolution = min(resolution, int((size[0] * size[1]) ** 0.5) if aspects else min(size))
    if not aspects:
        side = _side(resolution, multiple)
        return side, side
    aspect = math.log(size[0] / size[1])
    sizes = bucket_sizes(resolution, multiple)
    return min(sizes, key=lambda b: (round(abs(math.log(b[0] / b[1]) - aspect), 9), -b[0] * b[1], b))


def crop_for(size: tuple[int, int], bucket: tuple[int, int], variant: int, seed: int, name: str) -> Crop:
    """How a picture is resized and cut for a bucket.

    Args:
        size: Width and height of the picture, in pixels.
        bucket: Width and height of the bucket, in pixels.
        variant: Number of the crop; 0 is the centre, others lie anywhere.
        seed: Seed of the run.
        name: Name of the picture.

    Returns:
        The crop.
    """
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
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
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    return max(0.0, 1 - bucket[0] * bucket[1] / (size[0] * size[1] * scale * scale))


def _side(resolution: int, multiple: int) -> int:
    return max(multiple, resolution // multiple * multiple)
