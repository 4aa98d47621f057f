from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from veneer.errors import RunError
from veneer.proof import layout
from veneer.proof.layout import COPY, ONE_PICTURE, Layouts, copy_threshold, layouts
from veneer.proof.pairs import Pair

SIDE = 128


def scene(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A thing in the middle of a light ground, as drawings of one set lie: alike, and not the same."""
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(0, 256, (7, 7, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    inside = Image.new("L", (7, 7), 0)
    inside.paste(255, (1, 1, 6, 6))
    return Image.composite(patches, Image.new("RGB", size, "white"), inside.resize(size))


def saved(folder: Path, pictures: list[Image.Image], name: str) -> list[Path]:
    paths = [folder / f"{name}-{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    return paths


def held_against(folder: Path, tuned: list[Image.Image], training: list[Image.Image]) -> Layouts:
    base = saved(folder, [scene(1000 + n) for n in range(len(tuned))], "base")
    pairs = [
        Pair(f"prompt {n}", "recipe", n, *two)
        for n, two in enumerate(zip(base, saved(folder, tuned, "tuned"), strict=True))
    ]
    return layouts(pairs, saved(folder, training, "training"))


def closer(picture: Image.Image) -> Image.Image:
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=(6, 6, SIDE - 6, SIDE - 6))


def in_blocks(picture: Image.Image) -> Image.Image:
    return picture.resize((16, 16), Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)


def noisy(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 25, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda one: one,
    "moved by 7 pixels": lambda one: Image.fromarray(np.roll(np.asarray(one), (7, -7), (0, 1))),
    "mirrored": ImageOps.mirror,
    "mirrored, moved": lambda one: Image.fromarray(np.roll(np.asarray(one)[:, ::-1], (7, -7), (0, 1))),
    "mirrored, closer": lambda one: closer(ImageOps.mirror(one)),
    "brighter": lambda one: ImageEnhance.Brightness(one).enhance(1.15),
    "less contrast": lambda one: ImageEnhance.Contrast(one).enhance(0.6),
    "blurred": lambda one: one.filter(ImageFilter.GaussianBlur(3)),
    "closer": closer,
    "in blocks": in_blocks,
    "noisy": noisy,
    "twice the size": lambda one: one.resize((2 * SIDE, 2 * SIDE)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_are_above_the_threshold(tmp_path: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    training = [scene(seed) for seed in range(12)]
    seen = held_against(tmp_path, [change(one) for one in training], training)
    assert (seen.tuned.argmax(axis=1) == np.arange(12)).all()
    assert (seen.tuned.max(axis=1) > seen.threshold).all()
    assert (seen.base.max(axis=1) < seen.threshold).all()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_first_look_loses_no_copy(
    tmp_path: Path, change: Callable[[Image.Image], Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many training pictures only the nearest at first sight are looked at closely."""
    training = [scene(seed) for seed in range(40)]
    monkeypatch.setattr(layout, "CANDIDATES", 3)
    seen = held_against(tmp_path, [change(one) for one in training[:6]], training)
    assert (seen.tuned.argmax(axis=1) == np.arange(6)).all()
    assert (seen.tuned.max(axis=1) > seen.threshold).all()
    assert ((seen.tuned > -1).sum(axis=1) == 3).all()


def test_other_pictures_of_the_same_make_are_below_it(tmp_path: Path) -> None:
    seen = held_against(tmp_path, [scene(500 + n) for n in range(40)], [scene(n) for n in range(40)])
    assert seen.threshold == COPY
    assert seen.tuned.max() < COPY


def test_the_middle_of_a_wide_training_picture_comes_back(tmp_path: Path) -> None:
    wide = [scene(seed, (2 * SIDE, SIDE)) for seed in range(6)]
    middles = [one.crop((SIDE // 2, 0, SIDE + SIDE // 2, SIDE)) for one in wide]
    seen = held_against(tmp_path, middles, wide)
    assert (seen.tuned.max(axis=1) > seen.threshold).all()


def test_empty_pictures_are_like_nothing(tmp_path: Path) -> None:
    empty = Image.new("RGB", (SIDE, SIDE), "grey")
    seen = held_against(tmp_path, [empty], [scene(0), scene(1), scene(2), empty])
    assert seen.tuned.max() == 0


def test_threshold_rises_where_training_pictures_lie_alike() -> None:
    own = np.full((40, 40), 0.95)
    assert copy_threshold(own) == pytest.approx(0.95)
    assert copy_threshold(np.full((40, 40), 0.5)) == COPY


def test_the_same_picture_twice_does_not_raise_the_threshold() -> None:
    own = np.full((10, 10), 0.4)
    own[0, 1] = own[1, 0] = 0.999
    assert copy_threshold(own) == COPY < ONE_PICTURE


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    picture, broken = saved(tmp_path, [scene(0), scene(1)], "x")
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(RunError, match=r"x-1\.png"):
        layouts([Pair("a", "recipe", 0, picture, broken)], [picture, picture])
