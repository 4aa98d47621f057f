"""Records, and files written so that a kill leaves the old one or the new one: aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TextIO

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from veneer.errors import RunError

PARTIAL = ".veneer-partial"
"""How the name ends of what is not there to its end: ``.NAME.PROCESS-NUMBER.veneer-partial``."""
CLOCK_SECONDS = 60
"""How far the times of files and of processes may be apart."""
_NAME = re.compile(rf"\..*\.(\d{{1,9}})-\d+{re.escape(PARTIAL)}", re.DOTALL)
_NUMBERS = itertools.count()
_OWN: set[str] = set()
_SWEPT: set[Path] = set()


class Record(BaseModel):
    """What a file of a run holds: frozen. A key that a later version wrote is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    @classmethod
    def read(cls, path: Path, todo: str) -> Self:
        """Read the record that a whole JSON file is.

        Args:
            todo: What mends a damaged one, such as "Run `veneer encode` again".

        Raises:
            RunError: If the file cannot be read as this record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise damaged(path, error, todo) from error

    def write(self, path: Path) -> None:
        """Write the record as a JSON file of its own."""
        write_json(path, self.model_dump())


def known_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; an empty one where there is none, or none that can be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def damaged(path: Path, error: Exception, todo: str) -> RunError:
    """The error for a file of a run that cannot be understood, with the first fault of it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = f"{place}: {first['msg']}" if place else first["msg"]
    else:
        fault = str(error)
    return RunError(f"{path.name} is damaged: {fault}", where=str(path), todo=todo)


def open_to_append(path: Path) -> TextIO:
    """Open a file to add lines at its end; it is made where it does not exist.

    Raises:
        RunError: If it is a link: a stranger's folder may hold one to any file of the user's.
    """
    refuse_link(path)
    return path.open("a", encoding="utf-8", newline="\n")


def refuse_link(path: Path) -> None:
    """Refuse to change what a link leads to.

    Raises:
        RunError: If a path is a link.
    """
    if path.is_symlink():
        raise RunError(
            "a link where a file of veneer's own belongs",
            where=str(path),
            todo="Remove the link; what it leads to is not touched",
        )


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: aside, flushed, renamed.

    Args:
        text: Its content.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: aside, flushed, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _aside(path) as aside:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all.

    Args:
        value: Plain data.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A folder written under a temporary name, and renamed when the block ends well.

    Args:
        final: The folder's name in the end; an older one is replaced.

    Yields:
        The folder to write into.
    """
    with _aside(final) as aside:
        aside.mkdir(parents=True)
        yield aside
        sync_tree(aside)
        _replace_folder(aside, final)


@contextlib.contextmanager
def staged_files(final: Path) -> Iterator[Path]:
    """Files written under a temporary folder's name, and moved into a folder when the block ends well.

    Args:
        final: The folder; files of the same names are replaced, and what else is there stays.

    Yields:
        The folder to write into.
    """
    with _aside(final) as aside:
        aside.mkdir(parents=True)
        yield aside
        sync_tree(aside)
        for path in sorted(path for path in aside.rglob("*") if path.is_file()):
            target = final / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _replace_folder(new: Path, final: Path) -> None:
    """Put a complete folder in the place of another, which is removed."""
    if not final.exists():
        new.rename(final)
        return
    with _aside(final) as old:
        final.rename(old)
        try:
            new.rename(final)
        except OSError:
            old.rename(final)
            raise


@contextlib.contextmanager
def _aside(final: Path) -> Iterator[Path]:
    """A name beside a file or folder for what becomes it; whatever has that name at the end is removed.

    What killed processes left beside it goes first, once for each folder.
    """
    if final.parent not in _SWEPT:
        _SWEPT.add(final.parent)
        remove_partials(final.parent)
    name = f".{final.name[:40]}.{os.getpid()}-{next(_NUMBERS)}{PARTIAL}"
    _OWN.add(name)
    aside = final.with_name(name)
    try:
        yield aside
    finally:
        _remove(aside)
        _OWN.discard(name)


def remove_partials(folder: Path, *, deep: bool = False) -> None:
    """Remove what killed processes left half written.

    Args:
        folder: The folder; a missing one is passed over.
        deep: Whether all folders below it are looked through too.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if name.endswith(PARTIAL) and _is_left(Path(place) / name):
                _remove(Path(place) / name)
        folders[:] = [name for name in folders if not name.endswith(PARTIAL)] if deep else []


def _is_left(path: Path) -> bool:
    """Whether a file is one of ours, of no process that lives: its number may have gone to another since."""
    written = _NAME.fullmatch(path.name)
    if written is None:
        return False
    number = int(written[1])
    if number == os.getpid():
        return path.name not in _OWN
    try:
        began: float = psutil.Process(number).create_time()
        return began > path.lstat().st_mtime + CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
