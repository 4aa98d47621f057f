"""Data sets laid down by files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from veneer.records.dataset import Dataset, Item


def thirty_dots(root: Path) -> Path:
    """Noise of 30 heights, "a Red dot 1" and so on; the first picture has no caption."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    items = []
    for number in range(30):
        pixels = random.integers(0, 255, (40 + number, 50, 3), dtype=np.uint8)
        items.append(Item(f"images/{number:06d}.png", f"a Red dot {number}" if number else ""))
        Image.fromarray(pixels).save(root / items[-1].file_name)
    Dataset(root).write_metadata(items)
    return root
