"""One picture of all pictures: for every prompt the base's row above those of the tuned models."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
GAP, MARGIN = 6, 16
MIN_SIDE, MAX_SIDE = 128, 256
LABEL_WIDTH = 64


@dataclass(frozen=True)
class Ink:
    """How a line of text looks.

    Attributes:
        colour: Red, green and blue, 0 to 255.
        size: Height of the letters, in pixels.
        leading: Distance of two lines, in pixels.
    """

    colour: tuple[int, int, int]
    size: int
    leading: int


HEAD, TITLE, LABEL = Ink((24, 24, 27), 16, 22), Ink((24, 24, 27), 14, 18), Ink((92, 92, 100), 14, 18)


@dataclass(frozen=True)
class Group:
    """A prompt's part of the sheet.

    Attributes:
        title: The prompt.
        rows: Pictures by the name of who drew them, one for each seed, in the same order; the base first.
    """

    title: str
    rows: Mapping[str, Sequence[Path]]


def draw_sheet(groups: Sequence[Group], headline: str) -> bytes:
    """Draw the sheet.

    Args:
        groups: The prompts with their pictures, at least one.
        headline: Text above everything.

    Returns:
        A PNG file's bytes; small pictures are enlarged by whole steps, so that pixels stay pixels.
    """
    rows = [row for group in groups for row in group.rows.values()]
    with Image.open(rows[0][0]) as first:
        side = _shown_side(first.width)
    indent = MARGIN + _label_width([label for group in groups for label in group.rows])
    width = MARGIN + indent + max(len(row) for row in rows) * (side + GAP)
    titles = [wrap(group.title, max(16, (width - 2 * MARGIN) // 8)) for group in groups]
    heads = wrap(headline, max(16, (width - 2 * MARGIN) // 9))
    height = (
        2 * MARGIN
        + HEAD.leading * len(heads)
        + sum(len(t) * TITLE.leading + 14 for t in titles)
        + len(rows) * (side + GAP)
    )
    sheet = Image.new("RGB", (width, height), PAPER)
    top = _write(sheet, heads, (MARGIN, MARGIN), HEAD)
    for group, title in zip(groups, titles, strict=True):
        top = _write(sheet, title, (MARGIN, top + 8), TITLE)
        for label, row in group.rows.items():
            _write(sheet, [label], (MARGIN, top + side // 2 - 8), LABEL)
            _paste_row(sheet, row, (indent, top), side)
            top += side + GAP
        top += 6
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _label_width(labels: Sequence[str]) -> int:
    """Room for the longest label, and at least that of "tuned"."""
    font = ImageFont.load_default(LABEL.size)
    return max(LABEL_WIDTH, *(math.ceil(font.getlength(label)) + 2 * GAP for label in labels))


def _paste_row(sheet: Image.Image, row: Sequence[Path], place: tuple[int, int], side: int) -> None:
    for column, path in enumerate(row):
        with Image.open(path) as picture:
            shown = enlarge(picture.convert("RGB"), side)
        sheet.paste(shown, (place[0] + column * (side + GAP), place[1]))


def enlarge(picture: Image.Image, side: int) -> Image.Image:
    """Fit a picture into a square, small ones by repeating pixels.

    Args:
        side: Side of the square, in pixels.

    Returns:
        A picture of that size.
    """
    resample = Image.Resampling.NEAREST if picture.width < side else Image.Resampling.LANCZOS
    return picture.resize((side, side), resample)


def _shown_side(width: int) -> int:
    if width >= MAX_SIDE:
        return MAX_SIDE
    return width * max(1, round(MIN_SIDE / width))


def _write(sheet: Image.Image, lines: Sequence[str], place: tuple[int, int], ink: Ink) -> int:
    """Write lines from a place downwards; where the next one would begin."""
    draw, (left, top) = ImageDraw.Draw(sheet), place
    for line in lines:
        draw.text((left, top), line, fill=ink.colour, font=ImageFont.load_default(ink.size))
        top += ink.leading
    return top
