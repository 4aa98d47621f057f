"""Bodies of answers, decoded a piece at a time, so that a small one cannot become a large one unseen."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import httpx

ASKED_FOR = "gzip, deflate"
"""Encodings that are taken; what comes in another, or in two of them, is refused."""

PIECE_BYTES = 2**16
_RAW_DEFLATE = -zlib.MAX_WBITS
_GZIP = zlib.MAX_WBITS | 16


class EncodingRefused(Exception):  # noqa: N818 - it is a refusal
    """A body in an encoding that was not asked for, or that does not decode."""


def decoded_pieces(answer: httpx.Response) -> Iterator[bytes]:
    """Read the body of an answer.

    Args:
        answer: The answer, its body not read yet.

    Yields:
        Pieces of at most 64 KiB.

    Raises:
        EncodingRefused: If it is in an encoding that was not asked for, or damaged.
    """
    names = [name.strip().lower() for name in answer.headers.get("content-encoding", "").split(",")]
    encodings = [name for name in names if name not in {"", "identity"}]
    if not encodings:
        yield from answer.iter_raw()
    elif encodings in (["gzip"], ["x-gzip"], ["deflate"]):
        yield from _inflated(answer.iter_raw(), is_gzip=encodings != ["deflate"])
    else:
        raise EncodingRefused(f"it was sent as {', '.join(encodings)[:80]}, which was not asked for")


def _inflated(pieces: Iterator[bytes], *, is_gzip: bool) -> Iterator[bytes]:
    decoder = None
    try:
        for piece in pieces:
            if decoder is None:
                wbits = _GZIP if is_gzip else zlib.MAX_WBITS if piece[:1] == b"\x78" else _RAW_DEFLATE
                decoder = zlib.decompressobj(wbits)
            rest = piece
            while rest and not decoder.eof:
                yield decoder.decompress(rest, PIECE_BYTES)
                rest = decoder.unconsumed_tail
        while decoder is not None and not decoder.eof:
            last = decoder.decompress(decoder.unconsumed_tail, PIECE_BYTES)
            if not last:
                raise EncodingRefused("its compressed body ends early")
            yield last
    except zlib.error as error:
        raise EncodingRefused(f"its compressed body is damaged: {error}") from error
