"""Small versions of pictures, made once and kept."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

from veneer.data.picture import load_picture
from veneer.errors import DatasetError
from veneer.records.files import write_bytes

SIDE_PX = 224
_BROKEN = b""
_MAKING = threading.Lock()


def thumbnail(path: Path, cache: Path) -> bytes:
    """A picture's small version.

    Args:
        path: The picture.
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
    try:
        small = load_picture(path)
    except DatasetError:
        return _BROKEN
    if max(small.size) <= SIDE_PX // 2:  # pixels stay pixels
        times = SIDE_PX // max(small.size)
        small = small.resize((small.width * times, small.height * times), 0)
    small.thumbnail((SIDE_PX, SIDE_PX))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=82)
    return out.getvalue()
