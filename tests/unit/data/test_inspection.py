import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from helpers.tiny import tiny_pictures
from veneer.data.findings import REBLUR_LIMIT
from veneer.data.inspection import LOOK_PX, inspect_picture, reblur
from veneer.data.textmarks import find_text

GOLDEN = Path(__file__).parents[2] / "golden"


def scene(seed: int = 0, px: int = 512) -> Image.Image:
    """Overlapping shapes on a soft ground: edges of every direction, no letters."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (px, px), (90, 140, 190))
    draw = ImageDraw.Draw(picture)
    for _ in range(14):
        left, top = random.integers(0, px * 3 // 4, 2)
        width, height = random.integers(px // 5, px // 2, 2)
        box = (int(left), int(top), int(left + width), int(top + height))
        shape = draw.ellipse if random.random() < 0.6 else draw.rectangle
        shape(box, fill=tuple(int(c) for c in random.integers(0, 256, 3)))
    return picture


def write(
    picture: Image.Image, text: str, at: tuple[int, int], size: int = 28, fill: Any = "black"
) -> Image.Image:
    picture = picture.copy()
    ImageDraw.Draw(picture).text(at, text, font=ImageFont.load_default(size), fill=fill)
    return picture


@pytest.mark.parametrize("seed", range(4))
def test_blur_is_told_from_sharpness(seed: int) -> None:
    sharp = reblur(scene(seed))
    soft = reblur(scene(seed).filter(ImageFilter.GaussianBlur(5)))
    enlarged = reblur(scene(seed).resize((32, 32)).resize((512, 512), Image.Resampling.BICUBIC))
    assert sharp < 0.6
    assert soft > REBLUR_LIMIT
    assert enlarged > sharp + 0.2


def test_one_colour_has_no_blur() -> None:
    assert reblur(Image.new("RGB", (64, 64), "red")) == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("fill", "size"), [("black", 28), ("white", 40), ("black", 16)])
def test_a_line_at_the_edge_is_a_watermark(seed: int, fill: str, size: int) -> None:
    ground = Image.blend(
        scene(seed), Image.new("RGB", (512, 512), "white" if fill == "black" else "black"), 0.6
    )
    marks = find_text(write(ground, "www.stockpictures.com", (30, 460), size, fill))
    assert marks.letters >= 5
    assert marks.at_edge


def test_a_line_in_the_middle_is_text() -> None:
    marks = find_text(write(Image.new("RGB", (512, 512), "white"), "HELLO WORLD", (60, 230), 44))
    assert marks.letters >= 5
    assert not marks.at_edge


@pytest.mark.parametrize("seed", range(8))
def test_shapes_are_no_letters(seed: int) -> None:
    assert find_text(scene(seed)).letters == 0


def test_measures_of_a_whole_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(px=256).resize((256, 128)).save(tmp_path / "x.jpg", exif=exif)
    seen = inspect_picture(tmp_path / "x.jpg")
    assert (seen.width, seen.height, seen.turned) == (128, 256, True)
    assert seen.num_bytes == (tmp_path / "x.jpg").stat().st_size
    assert len(seen.colours) == 48
    assert seen.entropy > 1
    Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "red.png")
    blank = inspect_picture(tmp_path / "red.png")
    assert (blank.entropy, blank.blur, blank.letters) == (0, 0, 0)


@pytest.mark.parametrize("side", [16, 64, 65, 300, 700])
@pytest.mark.parametrize("kind", ["scene", "blurred", "noise", "dark", "one colour", "two greys"])
def test_brightness_and_sharpness_are_those_of_cleanvision(tmp_path: Path, side: int, kind: str) -> None:
    from cleanvision.issue_managers.image_property import BlurrinessProperty, calc_percentile_brightness

    picture = scene(px=128).resize((side, max(1, side * 2 // 3)))
    match kind:
        case "blurred":
            picture = picture.filter(ImageFilter.GaussianBlur(3))
        case "noise":
            noise = np.random.default_rng(0).integers(0, 256, (picture.height, picture.width, 3), np.uint8)
            picture = Image.fromarray(noise)
        case "dark":
            picture = picture.point(lambda value: value // 8)
        case "one colour":
            picture = Image.new("RGB", picture.size, (10, 200, 30))
        case "two greys":
            picture = picture.convert("L").point(lambda value: 60 if value < 128 else 90).convert("RGB")
    picture.save(tmp_path / "x.png")
    found = inspect_picture(tmp_path / "x.png")
    picture.thumbnail((LOOK_PX, LOOK_PX))
    light, dark = calc_percentile_brightness(picture, [5, 99])
    raw = BlurrinessProperty().calculate(picture)
    edges, spread = (
        1 - np.exp(-0.01 * float(raw[key])) for key in ("blurriness", "blurriness_grayscale_std")
    )
    sharpness = min(1.0, edges + (spread if spread > 0.18 else 0.0))
    assert (found.light, found.dark) == (round(float(light), 4), round(float(dark), 4))
    assert found.sharpness == round(float(sharpness), 4)


def test_measures_are_those_of_0_1_0(tmp_path: Path) -> None:
    """What the first release kept in ``.measures.jsonl`` of a run's pictures."""
    kept = GOLDEN / "run-0.1.0" / "dataset" / ".measures.jsonl"
    pictures = sorted(tiny_pictures(tmp_path / "pictures", 14).iterdir())
    for line, path in zip(kept.read_text("utf-8").splitlines(), pictures, strict=True):
        before, now = json.loads(line), inspect_picture(path)
        for name in ("phash", "entropy", "dark", "light", "sharpness", "blur", "letters"):
            assert getattr(now, name) == before[name], (path.name, name)


def test_looking_at_pictures_imports_no_tables_and_no_plots() -> None:
    heavy = "('pandas', 'matplotlib', 'torch', 'cleanvision')"
    code = f"import sys, veneer.data.inspection; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"
