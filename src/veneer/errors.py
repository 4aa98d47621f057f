"""Kinds of error, and the exit status each one ends a command with.

Every message says what is wrong, where (file, line or key) and what to do. The command line turns a
`VeneerError` into one line and an exit status in a single place (`veneer.cli`).
"""

from __future__ import annotations

import errno

EXIT_DONE = 0
EXIT_USER = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_WORSE = 4
EXIT_INTERRUPTED = 130


class VeneerError(Exception):
    """Something the user can mend: a path, a picture, a setting, a full disk.

    Args:
        what: What is wrong, one plain sentence without a final stop.
        where: File, line, key or address that the sentence is about; empty where the sentence names it.
        todo: What to do about it, as an instruction.
    """

    exit_status = EXIT_USER

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        todo = f". {self.todo}" if self.todo else ""
        return f"{self.what}{where}{todo}"


class ArgumentError(VeneerError, TypeError):
    """A Python function that was handed something of another type, or a word that it does not know."""


class RecipeError(VeneerError):
    """A recipe that cannot be resolved: unknown key, wrong type, value out of range."""


class DatasetError(VeneerError):
    """A data set that does not hold what a stage needs."""


class BaseModelError(VeneerError):
    """A base model that does not exist, is damaged, unsafe to load or of another family."""


class AdapterError(VeneerError):
    """A LoRA file that does not exist, is damaged or belongs to another base."""


class RunError(VeneerError):
    """A run folder in a state that the command cannot go on from."""


class TrainingError(VeneerError):
    """Training that cannot go on: the loss is not a number, or memory does not suffice."""


class NetworkError(VeneerError):
    """A source on the network that gave nothing usable."""


class CaptionerError(VeneerError):
    """A captioner that does not exist, or describes no pictures."""


NO_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
"""Numbers of the system's errors for words that can be no path, or links that lead round."""
DISK_FULL = "the disk is full; what was saved before is whole"


def is_disk_full(error: OSError) -> bool:
    """Whether nothing could be written because there is no room, or no more is allowed."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
