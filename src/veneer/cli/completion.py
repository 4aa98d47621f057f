"""What the shell offers after Tab: recipes, stages, run folders. Nothing here imports more than it must."""

from __future__ import annotations

from pathlib import Path


def complete_recipe(incomplete: str) -> list[str]:
    """Bundled recipes, recipe files, and folders that may hold some."""
    from veneer.recipe import bundled_names

    files = [path for path in _beside(incomplete) if path.endswith((".toml", "/"))]
    return [name for name in bundled_names() if name.startswith(incomplete)] + files


def complete_stage(incomplete: str) -> list[str]:
    """Stages of a run."""
    from veneer.stage import STAGE_NAMES

    return [name for name in STAGE_NAMES if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Run folders, and folders that may hold some."""
    from veneer.records.names import RUN_FILE

    found = [path for path in _beside(incomplete) if path.endswith("/")]
    return [path.rstrip("/") if (Path(path) / RUN_FILE).is_file() else path for path in found]


def _beside(incomplete: str) -> list[str]:
    """Paths that begin like this; folders end with a slash."""
    folder, slash, name = incomplete.rpartition("/")
    try:
        inside = sorted(Path(f"{folder}{slash}" or ".").iterdir())
    except OSError:
        return []
    return [
        f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"
        for path in inside
        if path.name.startswith(name) and not path.name.startswith(".")
    ]
