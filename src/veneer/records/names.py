"""Names of files: each is given out once, and nothing takes the place of a file that is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from veneer.text import normal_form

LONGEST_BYTES = 200
"""Longest name that is given out, in bytes: file systems take 255, and a mask's name is longer."""

RUN_FILE = "run.json"
"""What a run folder is known by."""

MASK = ".mask.png"
"""What the name of a picture's mask ends with, in place of the picture's suffix."""


class FreeNames:
    """Gives out names in one folder: none of a file that is there, none twice, and none too long.

    Args:
        folder: The folder; it need not exist yet.
        taken: Names that were promised already.
    """

    def __init__(self, folder: Path, taken: Iterable[str] = ()) -> None:
        self._folder = folder
        self._taken = {_key(name) for name in taken}
        self._numbers: dict[str, int] = {}

    def give(self, wanted: str, content: bytes | None = None) -> Path:
        """Give out a name.

        Args:
            wanted: A file name as it would be best; bytes that are no UTF-8 are left out of it.
            content: What will be in the file, where it is known: a file of just that, promised to nobody, is
                what a command left that was stopped before it had entered it.

        Returns:
            The path: ``wanted`` itself, or with a number such as "cat-2.png".
        """
        stem, suffix = _fitting(wanted)
        name = stem + suffix
        number = self._numbers.get(_key(name), 1)
        while not (self._is_free(name) or self._is_left(name, content)):
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._numbers[_key(stem + suffix)] = number
        self._taken.add(_key(name))
        return self._folder / name

    def _is_left(self, name: str, content: bytes | None) -> bool:
        path = self._folder / name
        if content is None or _key(name) in self._taken or path.is_symlink():
            return False
        with contextlib.suppress(OSError):
            return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
        return False

    def _is_free(self, name: str) -> bool:
        path = self._folder / name
        there = os.path.lexists(path) or os.path.lexists(mask_of(path))
        return not there and _key(name) not in self._taken


def mask_of(picture: Path) -> Path:
    """Where the mask of a picture lies.

    Returns:
        Such as "cat.mask.png" beside "cat.jpg".
    """
    return picture.with_name(f"{picture.stem}{MASK}")


def find_mask(picture: Path) -> Path | None:
    """Look for the mask of a picture.

    Returns:
        The mask; None where there is none.
    """
    with contextlib.suppress(OSError):  # a name that is too long for one
        mask = mask_of(picture)
        return mask if mask.is_file() else None
    return None


def move_unless_there(source: Path, target: Path) -> bool:
    """Move a file to a place that no file has; one that is there is never replaced.

    Args:
        source: The file, or a link to one.
        target: Its new place; folders are made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)  # fails where the place is taken, at the same moment
    except FileExistsError:
        if not source.samefile(target):
            return False
    except (OSError, NotImplementedError):  # a file system without hard links
        if os.path.lexists(target):
            return False
        source.rename(target)
        return True
    source.unlink()
    return True


def is_within(root: Path, name: str) -> bool:
    """Whether a name that was read from a file stays within a folder.

    Args:
        name: A relative path.

    Returns:
        False for absolute paths, for those that lead out, by links too, and for the folder itself.
    """
    if not name or "\0" in name:
        return False
    with contextlib.suppress(OSError, RuntimeError):
        place = (root / name).parent.resolve()
        return place.is_relative_to(root.resolve()) and Path(name).name not in {"", "..", "."}
    return False


def _fitting(wanted: str) -> tuple[str, str]:
    """Stem and suffix, in UTF-8 and short enough to take a number."""
    text = wanted.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    suffix = PurePosixPath(text).suffix
    if len(suffix.encode()) > LONGEST_BYTES // 4:
        text, suffix = text.replace(".", "-"), ""
    room = LONGEST_BYTES - len(suffix.encode())
    stem = text.removesuffix(suffix).encode()[:room].decode("utf-8", "ignore")
    return stem or "file", suffix


def _key(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return normal_form(name).casefold()
