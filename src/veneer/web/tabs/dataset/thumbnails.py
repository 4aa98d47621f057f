"""Small versions of pictures, made once and kept."""

from __future__ import annotations

import atexit
import hashlib
import threading
from functools import lru_cache
from pathlib import Path

from veneer.data.picture import small_webp
from veneer.data.worker import Failure, Workers
from veneer.records.files import write_bytes

SIDE_PX = 224
_BROKEN = b""
_MAKING = threading.Lock()


def thumbnail(path: Path, cache: Path) -> bytes:
    """A picture's small version.

    Args:
        cache: Folder where small versions are kept.

    Returns:
        A WebP file's bytes; empty where the picture cannot be decoded.
    """
    try:
        status = path.stat()
    except OSError:
        return _BROKEN
    key = hashlib.sha256(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{SIDE_PX}".encode()).hexdigest()[
        :24
    ]
    kept = cache / key[:2] / f"{key}.webp"
    if kept.is_file():
        return kept.read_bytes()
    with _MAKING:  # the next page may be asked for while it is made ahead
        if not kept.is_file():
            write_bytes(kept, _make(path))
    return kept.read_bytes()


def _make(path: Path) -> bytes:
    """Make it in a process of its own: a picture may be made to take any memory and time."""
    made = _workers().call(path, SIDE_PX)
    return _BROKEN if isinstance(made, Failure) else made


@lru_cache(maxsize=1)
def _workers() -> Workers[bytes]:
    workers = Workers(small_webp, count=1)
    atexit.register(workers.__exit__, None, None, None)
    return workers
