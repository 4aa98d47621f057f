"""One command at a time: a lock in the folder of a run or of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import filelock

from veneer import processes
from veneer.errors import DatasetError, RunError
from veneer.records.files import refuse_link, remove_partials


@contextmanager
def locked(
    folder: Path, what: Literal["run", "data set"], *, name: str = ".lock", seconds: float = 0
) -> Iterator[None]:
    """Keep other commands out of a folder; a block inside another of the same thread is let in.

    Of several processes of one command the main one holds the lock for all.

    Args:
        folder: The folder; it is made where it does not exist.
        name: Name of the lock's file.
        seconds: How long to wait for the other command.

    Raises:
        RunError: If another process works on the run.
        DatasetError: If another process works on the data set.
    """
    if not processes.is_main_process():
        yield
        return
    kind = RunError if what == "run" else DatasetError
    if folder.exists() and not folder.is_dir():
        raise kind("a file, not a folder", where=str(folder), todo="Name another place")
    folder.mkdir(parents=True, exist_ok=True)
    refuse_link(folder / name)
    try:
        lock = filelock.FileLock(folder.resolve() / name, is_singleton=True).acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise kind(
            f"another veneer works on this {what}", where=str(folder), todo="Wait for it, or stop it"
        ) from error
    except OSError as error:
        raise kind(
            f"the lock cannot be taken: {error.strerror or error}",
            where=str(folder / name),
            todo="Remove what is in its place, or choose a folder that you may write to",
        ) from error
    with lock:
        if name == ".lock":
            remove_partials(folder, deep=True)
        yield
