"""A recipe of the bundled base that fits into seconds: made-up drawing sets, and a size of a few pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pocket.config import TRAININGS, Size
from pocket.sources import SOURCES, icons_file
from pocket.subjects import with_role

TINY = Size(
    name="tiny",
    picture_px=32,
    num_variants=2,
    vae_channels=(16, 16, 16),
    unet_channels=(32, 32),
    unet_heads=2,
    text_width=32,
    text_layers=1,
    vision_width=32,
    vision_layers=2,
    projection_width=32,
    num_merges=50,
    vae_batch=4,
    clip_batch=4,
    unet_batch=4,
    layout_batch=4,
    captioner_batch=4,
    seconds=dict.fromkeys(TRAININGS, 1.0),
)


def write_sets(num_subjects: int) -> None:
    """Drawing sets of our own in the work folder: so many evaluation subjects in each, demo ones in two."""
    everywhere, demo = with_role("evaluation")[:num_subjects], with_role("demo")
    for number, source in enumerate(SOURCES):
        held = everywhere + demo * (source.name in ("noto", "fluent-emoji-flat"))
        names = [name for subject in held for name in (subject.name, subject.fxemoji) if name]
        icons = {name: {"body": _shape(number, len(name))} for name in names}
        file = icons_file(source)
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"width": 32, "height": 32, "icons": icons}))


def _shape(hue: int, extent: int) -> str:
    colour = f"hsl({hue * 50}, 80%, {30 + extent}%)"
    return f'<rect x="4" y="4" width="{10 + extent}" height="20" fill="{colour}"/>'


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the recipe read and write below a folder, the base that it exports too."""
    from pocket.sources import load_icons

    monkeypatch.setenv("VENEER_POCKET_WORK", str(folder / "work"))
    monkeypatch.setenv("VENEER_POCKET_SHIPPED", str(folder / "base"))
    load_icons.cache_clear()
