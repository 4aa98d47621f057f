"""What may be asked of the studio: sizes of requests, uploads in all, tries at the password."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_BODY_BYTES = 4 * 2**20
"""Largest request that is no upload: all captions of a page, and a recipe, are far smaller."""
MAX_UPLOAD_BYTES = 2 * 2**30
"""Largest upload in one request."""
MAX_UPLOADS_BYTES = 8 * 2**30
"""Most that all uploads take on disk at a time."""
STALE_SECONDS = 24 * 3600.0
"""Age from which on an upload that nothing was made of is removed."""

FREE_TRIES = 5
"""Wrong passwords before tries are slowed down."""
FREE_TRIES_IN_ALL = 20
"""The same over all addresses together: who has many gains nothing."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 300.0
"""Wait after the tries that are free; it doubles with each."""
ADDRESSES_KEPT = 1000
EVERY_ADDRESS = "*"


@dataclass
class Tries:
    """Wrong passwords, by address and in all.

    Attributes:
        clock: Seconds that only go forward.
    """

    clock: Callable[[], float] = time.monotonic
    _wrong: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)

    def wait(self, address: str) -> float:
        """How long an address has to wait before its next try.

        Args:
            address: Where the try comes from.

        Returns:
            Seconds; 0 where it may try now.
        """
        return max(self._wait(address, FREE_TRIES), self._wait(EVERY_ADDRESS, FREE_TRIES_IN_ALL))

    def note(self, address: str, *, is_right: bool) -> None:
        """Count a try.

        Args:
            address: Where it came from.
            is_right: Whether the password was right; the address begins anew then.
        """
        if is_right:
            self._wrong.pop(address, None)
            return
        for one in (address, EVERY_ADDRESS):
            count, _ = self._wrong.pop(one, (0, 0.0))
            self._wrong[one] = (count + 1, self.clock())
        while len(self._wrong) > ADDRESSES_KEPT:
            self._wrong.popitem(last=False)

    def _wait(self, address: str, free: int) -> float:
        count, last = self._wrong.get(address, (0, 0.0))
        if count < free:
            return 0.0
        wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(count - free, 20))
        return max(0.0, last + wait - self.clock())


@dataclass(frozen=True)
class Uploads:
    """The folder of uploads.

    Attributes:
        folder: Where the server puts them.
        most_bytes: Most that they take together.
    """

    folder: Path
    most_bytes: int = MAX_UPLOADS_BYTES

    def room(self) -> int:
        """How much may still be uploaded.

        Returns:
            Bytes, 0 or more.
        """
        return max(0, self.most_bytes - sum(size for _, size, _ in self._files()))

    def remove_stale(self, seconds: float = STALE_SECONDS) -> int:
        """Remove what nobody has used for long.

        Args:
            seconds: Age from which on a file goes.

        Returns:
            How many went.
        """
        now, gone = time.time(), 0
        for path, _, changed in list(self._files()):
            if now - changed >= seconds:
                with contextlib.suppress(OSError):
                    path.unlink()
                    gone += 1
        for folder in sorted(self.folder.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):  # it is not empty
                if folder.is_dir() and now - folder.stat().st_mtime >= min(seconds, 3600):
                    folder.rmdir()
        return gone

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                status = path.lstat()
                if not path.is_dir():
                    yield path, status.st_size, max(status.st_mtime, status.st_ctime)
