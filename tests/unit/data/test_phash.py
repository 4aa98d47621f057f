import imagehash
import numpy as np
import pytest
from PIL import Image

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
