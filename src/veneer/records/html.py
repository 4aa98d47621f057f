"""Small pages for notebooks: rows and thumbnails, with every text escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

FIGURE_PX = 112
"""Longest side of a thumbnail."""
MOST_PIXELS = 40_000_000
"""A larger picture is named, and not decoded."""


def rows_html(title: str, rows: Mapping[str, object]) -> str:
    """A heading and a table of two columns; what is empty is left out."""
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in rows.items()
        if value not in {"", None}
    )
    return f"<div><b>{html.escape(title)}</b><table>{cells}</table></div>"


def pictures_html(pictures: Sequence[tuple[Path, str]], side_px: int = FIGURE_PX) -> str:
    """Thumbnails side by side, each with its text below."""
    style = f"display:inline-block;margin:4px;width:{side_px}px;vertical-align:top"
    figures = "".join(
        f'<figure style="{style}">{_thumbnail(path, side_px)}'
        f'<figcaption style="font-size:small">{html.escape(text[:120])}</figcaption></figure>'
        for path, text in pictures
    )
    return f"<div>{figures}</div>"


def _thumbnail(path: Path, side_px: int) -> str:
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError("too large to show")
            small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return html.escape(path.name)
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(path.name)}" src="data:image/png;base64,{data}">'
