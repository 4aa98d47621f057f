"""Perceptual hashes: 64 bits that stay nearly the same when a picture is resized or saved again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from scipy import fft

NEAR_BITS = 6
"""Pictures whose hashes differ in at most this many of 64 bits are taken for copies of each other."""

_SIDE, _LOW = 32, 8
"""Pixels of the thumbnail's side, and frequencies of it that count, along a side."""


def perceptual_hash(picture: Image.Image) -> int:
    """Hash of what a picture looks like.

    Args:
        picture: Upright RGB picture.

    Returns:
        The 64 bits of its discrete cosine transform's low frequencies against their median.
    """
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    waves = fft.dct(fft.dct(np.asarray(small, dtype=np.float64), axis=0), axis=1)
    low = waves[:_LOW, :_LOW]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance(first: int, second: int) -> int:
    """Bits in which two hashes differ.

    Args:
        first: A hash.
        second: Another.

    Returns:
        0 to 64.
    """
    return (first ^ second).bit_count()


def near_pairs(hashes: Sequence[int], bits: int = NEAR_BITS) -> Iterator[tuple[int, int, int]]:
    """Find pairs of nearly equal hashes.

    Args:
        hashes: Hashes of 64 bits.
        bits: Most bits in which a pair differs, 0 to 63.

    Yields:
        Index of the earlier, index of the later, bits in which they differ; sorted by the later one.
    """
    values = np.asarray(hashes, dtype=np.uint64)
    for later in range(1, len(values)):
        differing = np.bitwise_count(values[:later] ^ values[later])
        for earlier in np.flatnonzero(differing <= bits):
            yield int(earlier), later, int(differing[earlier])
