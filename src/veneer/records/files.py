"""Records, and files written so that a kill leaves the old one or the new one: aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from veneer.errors import RunError


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


def damaged(path: Path, error: Exception, todo: str) -> RunError:
    """The error for a file of a run that cannot be understood, with the first fault of it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = f"{place}: {first['msg']}" if place else first["msg"]
    else:
        fault = str(error)
    return RunError(f"{path.name} is damaged: {fault}", where=str(path), todo=todo)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: aside, flushed, renamed.

    Args:
        text: Its content.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: aside, flushed, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all.

    Args:
        value: Plain data.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def staged_folder(final: Path, *, resume: bool = False) -> Iterator[Path]:
    """A folder written under a temporary name, and renamed when the block ends well.

    Args:
        final: The folder's name in the end; an older one is replaced.
        resume: Whether what an interrupted command left under the temporary name is kept.

    Yields:
        The folder to write into.
    """
    aside = final.with_name(f"{final.name}.partial")
    if aside.exists() and not resume:
        shutil.rmtree(aside)
    aside.mkdir(parents=True, exist_ok=True)
    yield aside
    sync_tree(aside)
    replace_folder(aside, final)


@contextlib.contextmanager
def staged_files(final: Path) -> Iterator[Path]:
    """Files written under a temporary folder's name, and moved into a folder when the block ends well.

    Args:
        final: The folder; files of the same names are replaced, and what else is there stays.

    Yields:
        The folder to write into.
    """
    aside = final.with_name(f"{final.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    yield aside
    sync_tree(aside)
    for path in sorted(path for path in aside.rglob("*") if path.is_file()):
        target = final / path.relative_to(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    shutil.rmtree(aside)


def replace_folder(new: Path, final: Path) -> None:
    """Put a complete folder in the place of another.

    Args:
        final: Where it goes; an older one is removed.
    """
    if final.exists():
        old = final.with_name(f"{final.name}.old.partial")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        new.rename(final)
        shutil.rmtree(old)
    else:
        new.rename(final)


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
