"""Perceptual hashes: 64 bits that stay nearly the same when a picture is resized or saved again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

NEAR_BITS = 6
"""Pictures whose hashes differ in at most this many of 64 bits are taken for copies of each other."""

_Indices = NDArray[np.int64]
_Block = tuple[_Indices, _Indices, Sequence[np.uint64]]
"""Earlier and later indices of pairs, and the masks by which such pairs were looked for before."""
_MOST_SHARED, _MOST_BANDS = 3, 64
"""Bands that pairs are looked for by, at most; and bands of a hash, which has no more bits."""
_SORTING = 20
"""What sorting takes for each hash, in comparisons of two."""
_AT_ONCE = 2**20
"""Pairs compared in one go, so that memory stays small."""
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
    """Find pairs of nearly equal hashes, without comparing all with all where there are many.

    A hash is cut into bands, a few more than a pair may have differing bits: the bits that differ then leave
    some bands equal, and pairs are looked for among the hashes that share those. None is missed.

    Args:
        hashes: Hashes of 64 bits.
        bits: Most bits in which a pair differs, 0 to 63.

    Yields:
        Index of the earlier, index of the later, bits in which they differ; sorted by the later one.
    """
    values, alike = np.unique(np.asarray(hashes, dtype=np.uint64), return_inverse=True)
    near: list[list[int]] = [[one] for one in range(len(values))]
    for first, second in _near_values(values, bits).tolist():
        near[first].append(second)
        near[second].append(first)
    before: list[list[int]] = [[] for _ in values]  # indices of each value so far
    for later, one in enumerate(alike.tolist()):
        found = sorted((index, other) for other in near[one] for index in before[other])
        yield from ((index, later, distance(int(values[one]), int(values[other]))) for index, other in found)
        before[one].append(later)


def _near_values(values: NDArray[np.uint64], bits: int) -> _Indices:
    """Pairs among hashes of which no two are equal: their indices, shape (N, 2), each pair once."""
    equal = _bands_shared(len(values), bits)
    blocks = _shared_candidates(values, bits, equal) if equal else _all_candidates(len(values))
    parts = [_near_of(values, *block, bits) for block in blocks]
    return np.concatenate(parts) if parts else np.empty((0, 2), np.int64)


def _bands_shared(count: int, bits: int) -> int:
    """How many bands a pair shares at least, where that is the quickest; 0 to compare all with all."""

    def work(equal: int) -> float:  # of hashes that fall together by chance
        bands = bits + equal
        keys = math.comb(bands, equal)
        return keys * (_SORTING * count + count**2 / 2 ** (equal * 64 / bands + 1))

    by_bands = {equal: work(equal) for equal in range(1, _MOST_SHARED + 1) if bits + equal <= _MOST_BANDS}
    by_bands[0] = count**2 / 2
    return min(by_bands, key=by_bands.__getitem__)


def _all_candidates(count: int) -> Iterator[_Block]:
    step = max(1, _AT_ONCE // max(1, count))
    for first in range(1, count, step):
        later = np.arange(first, min(count, first + step))
        yield np.concatenate([np.arange(one) for one in later.tolist()]), np.repeat(later, later), ()


def _shared_candidates(values: NDArray[np.uint64], bits: int, equal: int) -> Iterator[_Block]:
    """Pairs that agree in some bands; one that agrees in more of them comes with each."""
    ends = np.linspace(0, 64, bits + equal + 1).round().astype(int).tolist()
    bands = [(1 << end) - (1 << start) for start, end in pairwise(ends)]
    masks = [np.uint64(sum(shared)) for shared in combinations(bands, equal)]
    for number, mask in enumerate(masks):
        keys = values & mask
        order = np.argsort(keys, kind="stable")
        for earlier, later in _pairs_of_equals(keys[order], order):
            yield earlier, later, masks[:number]


def _pairs_of_equals(keys: NDArray[np.uint64], order: _Indices) -> Iterator[tuple[_Indices, _Indices]]:
    """Pairs of positions in ``order`` whose keys are equal; equals lie side by side, in their order."""
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    sizes = np.diff(np.r_[starts, len(keys)])
    before = np.arange(len(keys)) - np.repeat(starts, sizes)  # equals before each one
    sums = np.cumsum(before)
    first = 0
    while first < len(keys):
        done = sums[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(sums, done + _AT_ONCE, side="right")))
        counts = before[first:last]
        if total := int(counts.sum()):
            later = np.repeat(np.arange(first, last), counts)
            own = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
            yield order[later - before[later] + own], order[later]
        first = last


def _near_of(
    values: NDArray[np.uint64], earlier: _Indices, later: _Indices, seen: Sequence[np.uint64], bits: int
) -> _Indices:
    """Those of some pairs that differ in few bits, shape (N, 2); what agrees in a mask seen came with it."""
    differing = values[earlier] ^ values[later]
    is_near = np.bitwise_count(differing) <= bits
    earlier, later, differing = earlier[is_near], later[is_near], differing[is_near]
    is_new = np.ones(len(differing), bool)
    for mask in seen:
        is_new &= (differing & mask) != 0
    return np.stack([earlier[is_new], later[is_new]], axis=1)
