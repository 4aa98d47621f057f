"""The one decoder: any picture file to an upright 8-bit RGB picture, or an error that says why not.

What is read: JPEG, PNG, WebP, AVIF, BMP, TIFF and the first frame of a GIF. A picture is turned upright by
its EXIF orientation; transparency is laid over white; 16-bit values are scaled (Pillow itself would clip them
to white); palette, grey, CMYK and pictures with a colour profile of their own become sRGB.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from veneer.data.kinds import head_of, why_not_read
from veneer.errors import DatasetError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
"""Formats that are tried; others are refused (EPS, for one, would start a program)."""

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded, in pixels: Pillow's own limit for a likely decompression bomb."""

_BEGINNINGS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"8BPS\0", b"\xff\x0a",
    b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ",
)  # fmt: skip
"""First bytes of pictures of all kinds, read or not."""

_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes:
        picture: Upright, mode RGB, 8 bits.
        format: Format of the file, as Pillow names it, such as "JPEG".
        original_size: Width and height of the stored picture in pixels, before it was turned upright.
        changes: What was done to the pixels, such as "turned upright"; empty where nothing was.
    """

    picture: Image.Image
    format: str
    original_size: tuple[int, int]
    changes: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """Whether the file's own bytes can stay: an upright 8-bit RGB JPEG or PNG."""
        return not self.changes and self.format in {"JPEG", "PNG"}


def load_picture(path: Path) -> Image.Image:
    """Decode a picture file.

    Returns:
        The picture, upright, mode RGB, 8 bits.

    Raises:
        DatasetError: If the file cannot be decoded to its end, with the reason.
    """
    return decode_picture(path).picture


def load_small(path: Path, longest_side_px: int) -> Image.Image:
    """Decode a picture for what looks at it small; light enough for a worker process.

    Returns:
        The picture, upright, mode RGB, 8 bits.

    Raises:
        DatasetError: If the file cannot be decoded to its end, with the reason.
    """
    picture = load_picture(path)
    picture.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    return picture


def load_all_small(
    root: Path, names: Sequence[str], longest_side_px: int
) -> tuple[list[str], list[Image.Image]]:
    """Decode some pictures for what looks at them small; what cannot be decoded by now is passed over.

    Args:
        root: Their folder.

    Returns:
        The names of those that are there, and the pictures.
    """
    loaded = []
    for name in names:
        with contextlib.suppress(DatasetError):  # deleted, or written over, since it was looked at
            loaded.append((name, load_small(root / name, longest_side_px)))
    return [name for name, _ in loaded], [picture for _, picture in loaded]


def small_jpeg(path: Path, longest_side_px: int) -> bytes:
    """Make a thumbnail; light enough for a worker process.

    Raises:
        DatasetError: If the file cannot be decoded to its end, with the reason.
    """
    file = io.BytesIO()
    load_small(path, longest_side_px).save(file, format="JPEG", quality=80)
    return file.getvalue()


def small_webp(path: Path, side_px: int) -> bytes:
    """Make a thumbnail in which the pixels of tiny pictures stay pixels; light enough for a worker process.

    Args:
        side_px: Larger pictures are reduced to this; smaller ones enlarged by a whole number, below it.

    Returns:
        A WebP file.

    Raises:
        DatasetError: If the file cannot be decoded to its end, with the reason.
    """
    small = load_picture(path)
    if max(small.size) <= side_px // 2:
        times = side_px // max(small.size)
        small = small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)
    small.thumbnail((side_px, side_px))
    file = io.BytesIO()
    small.save(file, format="WEBP", quality=82)
    return file.getvalue()


def decode_picture(path: Path) -> Decoded:
    """Decode a picture file, and say what had to be done to it.

    Returns:
        The picture and its history.

    Raises:
        DatasetError: If the file cannot be decoded to its end, with the reason.
    """
    try:
        return _decode(path)
    except DatasetError:
        raise
    except MemoryError as error:
        raise _refusal("needs more memory than there is", path) from error
    except Exception as error:  # decoders raise any kind: SyntaxError, struct.error, IndexError ...
        other_kind = why_not_read(head_of(path)) if path.is_file() else ""
        raise _refusal(other_kind or plain_reason(error), path) from error


def begins_as_picture(path: Path) -> bool:
    """Whether a file may be a picture that somebody can mend, by its first bytes.

    Returns:
        False where it cannot be read, or is something else: a web page, a list of passwords.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    in_a_box = head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
    return head.startswith(_BEGINNINGS) or in_a_box or (head[:2] == b"BM" and head[6:10] == bytes(4))


def plain_reason(error: Exception) -> str:
    """Say in plain words why a picture could not be decoded.

    Args:
        error: What the decoder raised.

    Returns:
        A reason without the path, such as "truncated: image file is truncated (3 bytes not processed)".
    """
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels (limit {MAX_PIXELS})"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or of a format that is not read"
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated: {text or 'the file ends early'}"
    return f"damaged: {text or type(error).__name__}"


def _decode(path: Path) -> Decoded:
    if path.exists() and not path.is_file():
        raise _refusal("not a file", path)
    if path.stat().st_size == 0:
        raise _refusal("the file is empty", path)
    with Image.open(path, formats=FORMATS) as opened:
        name, size = opened.format or "", opened.size
        if size[0] * size[1] > MAX_PIXELS:
            raise _refusal(f"too many pixels: {size[0]} x {size[1]} (limit {MAX_PIXELS})", path)
        changes = _storage(opened, path)
        opened.seek(0)
        opened.load()
        picture, pixel_changes = _to_rgb(opened)
        upright = ImageOps.exif_transpose(opened) if _orientation(opened) != 1 else None
    if upright is not None:
        picture = _to_rgb(upright)[0]
        pixel_changes.append("turned upright")
    picture.info.clear()
    return Decoded(picture, "JPEG" if name == "MPO" else name, size, (*changes, *pixel_changes))


def _refusal(reason: str, path: Path) -> DatasetError:
    return DatasetError(reason, where=str(path), todo="Replace the picture or take it out")


def _storage(opened: ImageFile.ImageFile, path: Path) -> list[str]:
    """What is unusual about how the picture is stored, so that the file's own bytes cannot stay."""
    changes = []
    if getattr(opened, "n_frames", 1) > 1:
        changes.append("first frame taken")
    if opened.format == "PNG" and not _tail(path).rstrip(b"\0").endswith(_PNG_END):
        changes.append("stray bytes at the end dropped")
    if any("16" in str(tile[3]) for tile in opened.tile if len(tile) > 3):
        changes.append("16 bits reduced to 8")
    return changes


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read()


def _orientation(opened: Image.Image) -> int:
    try:
        return int(opened.getexif().get(0x0112, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _to_rgb(opened: Image.Image) -> tuple[Image.Image, list[str]]:
    if opened.mode.startswith(("I", "F")):
        return _scaled(opened).convert("RGB"), [f"{opened.mode} scaled to 8 bits"]
    converted = _to_srgb(opened)
    changes = [] if converted is None else ["colour profile converted to sRGB"]
    if opened.has_transparency_data:
        rgba = opened.convert("RGBA")
        if converted is not None:
            converted.putalpha(rgba.getchannel("A"))
            rgba = converted
        white = Image.new("RGBA", rgba.size, "white")
        laid = Image.alpha_composite(white, rgba).convert("RGB")
        return laid, [*changes, "transparency laid over white"]
    if converted is not None:
        return converted, changes
    if opened.mode == "RGB":
        return opened.copy(), []
    return opened.convert("RGB"), [f"{opened.mode} converted to RGB"]


_COLOURS = {"RGBA": "RGB", "RGBa": "RGB", "P": "RGB", "PA": "RGB", "LA": "L", "La": "L"}
"""Modes whose colours a profile is about, and the mode that has them alone."""


def _to_srgb(opened: Image.Image) -> Image.Image | None:
    """Convert a picture's colours by its own profile; None where there is none that is usable."""
    raw = opened.info.get("icc_profile")
    mode = _COLOURS.get(opened.mode, opened.mode)
    if not raw or mode not in {"RGB", "CMYK", "L"}:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(raw))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        colours = opened if mode == opened.mode else opened.convert(mode)
        converted = ImageCms.profileToProfile(
            colours, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a broken profile: the colours as stored are the best there is
    return converted


def _scaled(opened: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit and float values to 8 bits."""
    values: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(opened, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values that are not numbers")
    if opened.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif opened.mode == "F" and values.min() >= 0 and values.max() <= 1:
        low, high = 0.0, 1.0
    else:  # no range is agreed for these: the picture's own
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
