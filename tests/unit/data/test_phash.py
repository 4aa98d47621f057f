from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from veneer.data import phash
from veneer.data.phash import NEAR_BITS, distance, near_pairs, perceptual_hash


def test_resizing_keeps_the_hash_and_other_pictures_change_it() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC)
    assert distance(perceptual_hash(picture), perceptual_hash(picture.resize((100, 90)))) <= 2
    assert distance(perceptual_hash(picture), perceptual_hash(picture.rotate(90))) > NEAR_BITS


@pytest.mark.parametrize("side", [8, 32, 33, 200, 640])
def test_the_hash_is_that_of_imagehash(side: int) -> None:
    random = np.random.default_rng(side)
    noise = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, side).astype(np.uint8)[:, None, None], (side, side, 3))
    flat = [np.full((side, side, 3), grey, np.uint8) for grey in (0, 1, 77, 255)]
    halves = np.where(np.arange(side)[:, None, None] < side // 2, 20, 220) * np.ones((1, side, 3))
    for pixels in (noise, ramp, ramp.swapaxes(0, 1), *flat, halves.astype(np.uint8)):
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        assert perceptual_hash(picture) == int(str(imagehash.phash(picture)), 16)


def test_near_pairs_are_those_of_a_plain_double_loop() -> None:
    random = np.random.default_rng(1)
    hashes = [int(value) for value in random.integers(0, 2**63, 60)]
    hashes += [value ^ (1 << bit) ^ (1 << 63) for value, bit in zip(hashes, range(30), strict=False)]
    plain = [
        (a, b, distance(hashes[a], hashes[b]))
        for b in range(len(hashes))
        for a in range(b)
        if distance(hashes[a], hashes[b]) <= NEAR_BITS
    ]
    assert list(near_pairs(hashes)) == plain
    assert len(plain) >= 30


def test_no_pictures_have_no_pairs() -> None:
    assert list(near_pairs([])) == []


def all_pairs(hashes: np.ndarray, bits: int) -> list[tuple[int, int, int]]:
    found = []
    for later in range(1, len(hashes)):
        differing = np.bitwise_count(hashes[:later] ^ hashes[later])
        found += [(int(one), later, int(differing[one])) for one in np.flatnonzero(differing <= bits)]
    return found


def many_hashes(seed: int, count: int) -> np.ndarray:
    """Hashes at random, a third of them a few bits from another, and some equal."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, count, dtype=np.uint64)
    for copy, source in random.integers(0, count, (count // 3, 2)):
        flips = random.integers(0, 64, random.integers(0, 12))
        hashes[copy] = hashes[source] ^ np.bitwise_xor.reduce(np.uint64(1) << flips.astype(np.uint64))
    return hashes


@pytest.mark.parametrize("equal", [0, 1, 2, 3])
@pytest.mark.parametrize("bits", [0, 1, 6, 11])
def test_bands_find_just_what_all_pairs_find(equal: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phash, "_bands_shared", lambda *_: equal)
    monkeypatch.setattr(phash, "_AT_ONCE", 5000)  # several blocks
    for seed in range(4):
        hashes = many_hashes(seed, 200)
        assert list(near_pairs(hashes.tolist(), bits)) == all_pairs(hashes, bits)


@pytest.mark.parametrize(("bits", "count"), [(0, 1500), (6, 1500), (20, 1500), (63, 60)])
def test_the_way_that_is_chosen_finds_them_too(bits: int, count: int) -> None:
    hashes = many_hashes(9, count)
    assert list(near_pairs(hashes.tolist(), bits)) == all_pairs(hashes, bits)


def test_of_many_hashes_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    usual = phash._near_of

    def counting(values: np.ndarray, earlier: np.ndarray, *more: Any) -> np.ndarray:
        nonlocal compared
        compared += len(earlier)
        assert len(earlier) < 2 * phash._AT_ONCE
        return usual(values, earlier, *more)

    monkeypatch.setattr(phash, "_near_of", counting)
    count = 20_000
    list(near_pairs(many_hashes(3, count).tolist()))
    assert compared < count**2 / 2 / 50


def test_many_copies_of_one_picture_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair of them came with every choice of bands: two thousand took half a minute and 800 MiB."""
    kept = 0
    usual = phash._near_of

    def counting(*asked: Any) -> np.ndarray:
        nonlocal kept
        found = usual(*asked)
        kept += len(found)
        return found

    monkeypatch.setattr(phash, "_near_of", counting)
    hashes = many_hashes(5, 3000)
    hashes[:400] = hashes[0]
    hashes[400:500] = hashes[0] ^ np.uint64(1)
    found = list(near_pairs(hashes.tolist()))
    assert found == all_pairs(hashes, NEAR_BITS)
    assert kept == len({frozenset((int(hashes[a]), int(hashes[b]))) for a, b, bits in found if bits})
