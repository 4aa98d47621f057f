"""What lists of models offer: what is bundled, what lies in the workspace, and names of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from veneer.recipe import bundled_names, load_recipe
from veneer.web.workspace import Workspace

POCKET = "pocket"
CAPTIONERS = (
    ("pocket: bundled, for small drawings", POCKET),
    ("BLIP large: sentences, from the hub", "Salesforce/blip-image-captioning-large"),
    ("WD tagger v3: booru tags, from the hub", "SmilingWolf/wd-vit-tagger-v3"),
    ("none: take the files' names", "none"),
)
MODEL_FOLDER = "models"
"""Folder of the workspace that base models are looked for in, beside what `--allow` names."""
MOST_FOUND = 100
"""Models of one folder that are offered; others can be written."""

Offer = tuple[str, str]
"""What a list shows, and what it stands for."""


def bases(workspace: Workspace) -> list[Offer]:
    """Base models to choose from: the bundled one, local ones, and those of the bundled recipes."""
    found = [(f"{path.name}: {_kind(path)}", _spelled(workspace, path)) for path in _local_bases(workspace)]
    return [("pocket: bundled, small, no download", POCKET), *found, *_hub_bases()]


@cache
def _hub_bases() -> tuple[Offer, ...]:
    """Base models of the bundled recipes, by the hub's names."""
    names = dict.fromkeys(load_recipe(name).base.model for name in bundled_names())
    return tuple((f"{name.rpartition('/')[2]}: from the hub", name) for name in names if name != POCKET)


def _local_bases(workspace: Workspace) -> Iterator[Path]:
    for folder in (workspace.root / MODEL_FOLDER, *workspace.also):
        if _is_base(folder):
            yield folder
        elif folder.is_dir():
            yield from [path for path in sorted(folder.iterdir()) if _is_base(path)][:MOST_FOUND]


def _is_base(path: Path) -> bool:
    if path.is_dir():
        return (path / "model_index.json").is_file()
    return path.suffix == ".safetensors" and path.is_file()


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "single file"


def _spelled(workspace: Workspace, path: Path) -> str:
    """As recipes of the workspace name it."""
    is_inside = path.is_relative_to(workspace.root)
    return path.relative_to(workspace.root).as_posix() if is_inside else str(path)
