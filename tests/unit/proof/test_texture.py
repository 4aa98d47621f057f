from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from veneer.proof.pairs import Pair
from veneer.proof.texture import texture_measure, texture_statistics, texture_view
from veneer.stats import Measure


def measured(base: Any, tuned: Any, held_out: Any, prompts: Any) -> Measure:
    pairs = [Pair(str(p), "recipe", 0, *both) for p, *both in zip(prompts, base, tuned, strict=True)]
    return texture_measure(texture_view(pairs, held_out), prompts)


def smooth(random: np.random.Generator, side: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(random.uniform(3, 9) * rows + random.uniform(3, 9) * columns) for _ in range(3)]
    return ((np.stack(waves, axis=2) + 1) * 127).astype(np.uint8)


def blocky(picture: np.ndarray) -> np.ndarray:
    small = picture[::8, ::8]
    return np.kron(small, np.ones((8, 8, 1), np.uint8))


@pytest.mark.parametrize("change", [lambda one: 0.7 * one, lambda one: 1 - 0.6 * (1 - one)])
def test_brightness_and_contrast_are_no_texture(change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Fainter pictures had gained as much texture as a style learnt."""
    picture = blocky(smooth(np.random.default_rng(0))) / 255
    assert texture_statistics(change(picture)) == pytest.approx(texture_statistics(picture), abs=1e-9)


def test_pictures_of_one_colour_have_no_texture() -> None:
    flat = texture_statistics(np.full((64, 64, 3), 0.5))
    assert np.isfinite(flat).all()
    assert flat == pytest.approx(texture_statistics(np.full((64, 64, 3), 0.9)))


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Any]:
    def write(
        name: str, count: int, seed: int, change: Callable[[np.ndarray], np.ndarray] = lambda picture: picture
    ) -> list[Path]:
        random = np.random.default_rng(seed)
        paths = [tmp_path / f"{name}{index}.png" for index in range(count)]
        for path in paths:
            Image.fromarray(change(smooth(random))).save(path)
        return paths

    return write


def test_blocks_are_nearer_to_blocks(pictures: Callable[..., Any]) -> None:
    held_out = pictures("held", 6, 0, blocky)
    base, tuned = pictures("base", 8, 1), pictures("tuned", 8, 1, blocky)
    measure = measured(base, tuned, held_out, range(8))
    assert measure.rises
    assert measure.wins == 1


def test_the_same_pictures_make_no_difference(pictures: Callable[..., Any]) -> None:
    base = pictures("base", 8, 1)
    measure = measured(base, base, pictures("held", 6, 0, blocky), range(8))
    assert measure.delta == 0
    assert measure.ci95 == (0, 0)


def test_statistics_do_not_care_where_things_are() -> None:
    picture = np.random.default_rng(0).random((64, 64, 3))
    moved = np.roll(picture, (16, 16), axis=(0, 1))
    assert texture_statistics(moved) == pytest.approx(texture_statistics(picture), abs=0.02)


def test_any_size_of_held_out_picture(pictures: Callable[..., Any], tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (200, 10, 10)).save(tmp_path / "wide.png")
    base = pictures("base", 5, 1)
    assert measured(base, pictures("tuned", 5, 2), [tmp_path / "wide.png"], range(5)).n == 5


def test_pictures_from_the_same_hand_seem_no_nearer(pictures: Callable[..., Any]) -> None:
    """The base's own scale must not favour pictures that it was not made from."""
    held_out, shown = pictures("held", 6, 0, blocky), pictures("shown", 320, 1)
    deltas = [
        measured(shown[start : start + 8], shown[start + 8 : start + 16], held_out, range(8)).delta
        for start in range(0, 320, 16)
    ]
    assert abs(np.mean(deltas)) < 3 * np.std(deltas) / len(deltas) ** 0.5


def test_one_prompt_alone_is_measured_against_its_other_pictures(pictures: Callable[..., Any]) -> None:
    held_out, base, tuned = pictures("held", 6, 0, blocky), pictures("b", 6, 1), pictures("t", 6, 2, blocky)
    assert measured(base, tuned, held_out, ["a cat"] * 6).delta > 0
    assert measured(base[:1], tuned[:1], held_out, ["a cat"]).ci95 is None
