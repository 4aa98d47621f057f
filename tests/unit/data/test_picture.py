import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from veneer.data.picture import MAX_PIXELS, decode_picture, load_picture, load_small, small_jpeg
from veneer.errors import DatasetError

GRADIENT = np.tile(np.arange(64, dtype=np.uint16) * 1000, (32, 1))


def pixel(picture: Image.Image, place: tuple[int, int]) -> Any:
    return picture.getpixel(place)


def png_16_bit_rgb(path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">48H", *([0, 30000, 65535] * 16)) for _ in range(16))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_every_format_and_mode_becomes_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"x.{suffix}"
    picture = Image.new("RGB", (20, 10), "white").convert(mode)
    (picture if suffix != "jpg" or mode in {"RGB", "L"} else picture.convert("L")).save(path)
    loaded = load_picture(path)
    assert (loaded.mode, loaded.size) == ("RGB", (20, 10))
    assert np.asarray(loaded).min() >= 250


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(GRADIENT).save(path)
    expected = np.rint(GRADIENT / 65535 * 255)
    assert np.abs(np.asarray(load_picture(path))[..., 0] - expected).max() <= 1


def test_sixteen_bits_in_three_channels_are_scaled(tmp_path: Path) -> None:
    png_16_bit_rgb(tmp_path / "x.png")
    assert np.asarray(load_picture(tmp_path / "x.png"))[0, 0].tolist() == [0, 117, 255]
    assert not decode_picture(tmp_path / "x.png").is_plain


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 7)])
def test_other_numbers_get_a_range(tmp_path: Path, mode: str, value: float) -> None:
    picture = Image.new(mode, (4, 4), value)
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "x.tif")
    assert np.asarray(load_picture(tmp_path / "x.tif")).max() in {127, 128, 255}


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0, 128))
    picture.save(tmp_path / "x.png")
    assert np.asarray(load_picture(tmp_path / "x.png")).tolist() == [[[255, 255, 255], [255, 127, 127]]]


def test_a_transparent_palette_is_laid_over_white(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / "x.gif", transparency=0)
    assert np.asarray(load_picture(tmp_path / "x.gif")).min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "x.jpg", exif=exif, quality=95)
    loaded = decode_picture(tmp_path / "x.jpg")
    corners = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
    right, bottom = corners[orientation]
    width, height = loaded.picture.size
    assert loaded.picture.size == ((20, 40) if orientation > 4 else (40, 20))
    assert pixel(loaded.picture, (right * (width - 1), bottom * (height - 1)))[0] < 30
    assert loaded.is_plain == (orientation == 1)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=95)
    red, green, blue = pixel(load_picture(tmp_path / "x.jpg"), (4, 4))
    assert (red > 200, green < 40, blue < 40) == (True, True, True)


def test_a_profile_of_another_colour_space_is_converted(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "srgb.png", icc_profile=lab)
    assert decode_picture(tmp_path / "srgb.png").is_plain
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "broken.png", icc_profile=b"not a profile")
    assert load_picture(tmp_path / "broken.png").getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA"])
def test_a_profile_is_followed_in_every_mode(tmp_path: Path, mode: str) -> None:
    grey = mode in {"L", "LA"}
    picture = Image.new("L" if grey else "RGB", (8, 8), 100 if grey else (200, 100, 50))
    picture = picture.convert(mode) if mode != "P" else picture.quantize(4)
    picture.save(tmp_path / "x.png", icc_profile=profile(b"GRAY" if grey else b"RGB "))
    decoded = decode_picture(tmp_path / "x.png")
    assert "colour profile converted to sRGB" in decoded.changes
    stored = (100, 100, 100) if grey else (200, 100, 50)
    shown: Any = decoded.picture.getpixel((0, 0))
    assert max(abs(a - b) for a, b in zip(shown, stored, strict=True)) > 5


def profile(space: bytes) -> bytes:
    """A profile with a gamma of 1, in the colours of sRGB or in grey."""
    gamma = b"curv" + bytes(4) + (1).to_bytes(4, "big") + (256).to_bytes(2, "big") + bytes(2)
    white = xyz(0.9642, 1.0, 0.8249)
    tags = {b"wtpt": white, b"kTRC": gamma}
    if space != b"GRAY":
        red, green, blue = xyz(0.436, 0.222, 0.014), xyz(0.385, 0.717, 0.097), xyz(0.143, 0.061, 0.714)
        tags = {b"wtpt": white, b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma)
    tags[b"desc"] = b"desc" + bytes(4) + (7).to_bytes(4, "big") + b"linear\0" + bytes(78)
    table, body = len(tags).to_bytes(4, "big"), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + (start + len(body)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        body += value + bytes(-len(value) % 4)
    head = bytes(4) + bytes(4) + bytes.fromhex("02400000") + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    head += bytes(28) + white[8:]
    head += bytes(128 - len(head))
    return (start + len(body)).to_bytes(4, "big") + head[4:] + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(round(value * 65536).to_bytes(4, "big") for value in values)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, which is not read: .*heif-convert"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL.*djxl"),
        (b"8BPS\0\x01", "Photoshop"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "SVG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"PK\x03\x04", "an archive.*unpack"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"  <!DOCTYPE HTML>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_other_kinds_are_named_with_the_way_out(tmp_path: Path, head: bytes, words: str) -> None:
    (tmp_path / "x.png").write_bytes(head + bytes(100))
    with pytest.raises(DatasetError, match=words):
        load_picture(tmp_path / "x.png")


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "webp", "png", "tif"):
        path = tmp_path / f"x.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        decoded = decode_picture(path)
        assert pixel(decoded.picture, (0, 0))[0] > 200
        assert "first frame taken" in decoded.changes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"<html>", "a web page, which is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"P6 2 2 255\n" + b"\0" * 12, "not a picture"),
    ],
)
def test_what_is_no_picture_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        load_picture(tmp_path / "x.jpg")


def test_a_missing_file_a_folder_and_half_a_picture_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        load_picture(tmp_path / "x.jpg")
    with pytest.raises(DatasetError, match="not a file"):
        load_picture(tmp_path)
    Image.effect_noise((64, 64), 90).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:-600])
    with pytest.raises(DatasetError, match="truncated"):
        load_picture(tmp_path / "x.jpg")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 200
    Image.new("1", (side, side)).save(tmp_path / "x.png")
    with pytest.raises(DatasetError, match="too many pixels"):
        load_picture(tmp_path / "x.png")


def test_bytes_stay_only_where_they_are_upright_rgb_to_the_end(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "x.png")
    assert decode_picture(tmp_path / "x.png").is_plain
    with (tmp_path / "x.png").open("ab") as file:
        file.write(b"appended")
    assert not decode_picture(tmp_path / "x.png").is_plain
    Image.new("RGB", (8, 8), "red").save(tmp_path / "x.webp", lossless=True)
    assert not decode_picture(tmp_path / "x.webp").is_plain


def test_small_pictures_keep_their_shape(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "x.png")
    assert load_small(tmp_path / "x.png", 100).size == (100, 50)
    assert small_jpeg(tmp_path / "x.png", 100).startswith(b"\xff\xd8")
