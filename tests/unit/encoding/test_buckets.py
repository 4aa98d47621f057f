"""Buckets and crops."""

from __future__ import annotations

import pytest

from veneer.encoding.buckets import bucket_for, bucket_sizes, crop_for, enlargement, reshaping, share_cut


def test_sizes_keep_the_area_and_are_multiples() -> None:
    sizes = bucket_sizes(512, 64)
    assert (512, 512) in sizes
    assert all(w % 64 == h % 64 == 0 and w * h <= 512 * 512 for w, h in sizes)
    assert all(0.5 <= w / h <= 2 for w, h in sizes)
    assert {(h, w) for w, h in sizes} == set(sizes)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 1000), (512, 512)),
        ((1600, 900), (640, 384)),
        ((900, 1600), (384, 640)),
        ((4000, 500), (704, 320)),
    ],
)
def test_the_nearest_aspect_is_taken(size: tuple[int, int], expected: tuple[int, int]) -> None:
    bucket = bucket_for(size, 512, 64)
    nearest = min(bucket_sizes(512, 64), key=lambda b: abs(b[0] / b[1] - size[0] / size[1]))
    assert bucket[0] / bucket[1] == pytest.approx(nearest[0] / nearest[1])
    assert (bucket[0] > bucket[1]) == (size[0] > size[1])
    assert bucket == expected or size[0] != size[1]


def test_small_pictures_are_not_enlarged_where_that_is_unwanted() -> None:
    assert bucket_for((300, 300), 512, 64, upscale=True) == (512, 512)
    assert bucket_for((300, 300), 512, 64, upscale=False) == (256, 256)
    assert bucket_for((300, 900), 512, 64, aspects=False, upscale=False) == (256, 256)
    assert bucket_for((10, 10), 512, 64, upscale=False) == (64, 64)


def test_without_buckets_there_is_the_square() -> None:
    assert bucket_for((900, 100), 512, 64, aspects=False, upscale=True) == (512, 512)
    assert bucket_for((900, 100), 100, 16, aspects=False) == (96, 96)
    assert bucket_for((900, 90), 100, 16, aspects=False) == (80, 80)


@pytest.mark.parametrize("size", [(1000, 700), (513, 512), (100, 333), (512, 512)])
def test_crops_lie_within_and_the_first_is_the_centre(size: tuple[int, int]) -> None:
    for variant in range(6):
        crop = crop_for(size, (512, 512), variant, 0, "a")
        assert 0 <= crop.left <= crop.width - 512
        assert 0 <= crop.top <= crop.height - 512
        assert min(crop.width, crop.height) == 512
    centre = crop_for(size, (512, 512), 0, 0, "a")
    assert centre.left == (centre.width - 512) // 2


def test_variants_differ_by_number_and_picture() -> None:
    crops = {crop_for((2000, 512), (512, 512), variant, 0, name) for variant in (1, 2, 3) for name in "ab"}
    assert len(crops) == 6


def test_the_share_that_is_cut() -> None:
    assert share_cut((1000, 500), (512, 512)) == pytest.approx(0.5)
    assert share_cut((512, 512), (512, 512)) == 0


@pytest.mark.parametrize("aspects", [True, False])
def test_nothing_is_enlarged_by_default_where_a_bucket_fits(aspects: bool) -> None:
    for width in range(64, 900, 31):
        for height in range(64, 900, 37):
            bucket = bucket_for((width, height), 512, 64, aspects=aspects)
            assert enlargement((width, height), bucket) <= 1
            assert bucket[0] % 64 == bucket[1] % 64 == 0
            assert bucket[0] * bucket[1] <= 512 * 512
            assert max(bucket) <= 2 * min(bucket)


def test_a_small_picture_keeps_most_of_its_pixels() -> None:
    assert bucket_for((500, 300), 512, 64) == (448, 256)
    assert bucket_for((300, 900), 512, 64) == (256, 512)
    assert bucket_for((40, 900), 512, 64) == (64, 128)


def test_what_is_thrown_away_is_summed_over_pixels() -> None:
    rows = [
        ((1000, 500), (448, 448), (448, 448)),  # loses half of 500,000
        ((500, 500), (448, 448), (512, 512)),  # loses nothing of 250,000
        ((40, 40), (64, 64), (512, 512)),
    ]
    summed = reshaping(rows)
    assert summed.cut_percent == pytest.approx(100 * 250_000 / 751_600, abs=0.01)
    assert (summed.pictures, summed.much_cut, summed.smaller, summed.enlarged) == (3, 1, 2, 1)
