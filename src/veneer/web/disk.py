"""How much disk a folder takes."""

from __future__ import annotations

from pathlib import Path


def disk_use(folder: Path) -> int:
    """Bytes that a folder takes.

    Args:
        folder: The folder.

    Returns:
        Sum of its files' sizes; files that vanish meanwhile are left out.
    """
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
        except OSError:
            continue
    return total
