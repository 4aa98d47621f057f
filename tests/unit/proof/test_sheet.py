import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from veneer.proof.sheet import Group, draw_sheet


@pytest.fixture
def group(tmp_path: Path) -> Callable[..., Any]:
    def write(name: str, colour: tuple[int, int, int], side: int) -> Path:
        Image.new("RGB", (side, side), colour).save(tmp_path / name)
        return tmp_path / name

    def build(side: int) -> Group:
        base = [write(f"base{i}.png", (200, 0, 0), side) for i in range(3)]
        tuned = [write(f"tuned{i}.png", (0, 0, 200), side) for i in range(3)]
        return Group("a very long prompt " * 8, {"base": base, "tuned": tuned})

    return build


@pytest.mark.parametrize(("side", "shown"), [(32, 128), (64, 128), (512, 256)])
def test_base_stands_above_tuned(group: Callable[..., Any], side: int, shown: int) -> None:
    sheet = Image.open(io.BytesIO(draw_sheet([group(side), group(side)], "headline " * 20)))
    column = [sheet.getpixel((150, y)) for y in range(sheet.height)]
    red = [y for y, colour in enumerate(column) if colour == (200, 0, 0)]
    blue = [y for y, colour in enumerate(column) if colour == (0, 0, 200)]
    assert len(red) == len(blue) == 2 * shown
    assert red[0] < blue[0] < red[-1] < blue[-1]


def test_long_names_get_the_room_that_they_need(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "a.png")
    rows = {"base": [tmp_path / "a.png"], "a-name-of-many-letters at 0.5": [tmp_path / "a.png"]}
    sheet = Image.open(io.BytesIO(draw_sheet([Group("a prompt", rows)], "headline")))
    left = min(x for x in range(sheet.width) if sheet.getpixel((x, 120)) == (200, 0, 0))
    assert left > 180
