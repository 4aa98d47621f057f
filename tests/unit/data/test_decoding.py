import gzip
import zlib
from collections.abc import Callable

import httpx
import pytest

from veneer.data.decoding import PIECE_BYTES, EncodingRefused, decoded_pieces

BODY = bytes(range(256)) * 1000


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def answer(body: bytes, encoding: str, pieces: int = 100) -> httpx.Response:
    parts = [body[i : i + pieces] for i in range(0, len(body), pieces)]
    return httpx.Response(200, headers={"content-encoding": encoding}, content=iter(parts))


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        (" GZIP ", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
def test_one_encoding_is_taken(encoding: str, pack: Callable[[bytes], bytes], pieces: int) -> None:
    assert b"".join(decoded_pieces(answer(pack(BODY), encoding, pieces))) == BODY


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "gzip, gzip", "gzip,br", "deflate, gzip", "compress", "x" * 10_000]
)
def test_what_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(EncodingRefused, match="not asked for"):
        list(decoded_pieces(answer(BODY, encoding)))


def test_a_bomb_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(100 * 2**20), mtime=0)
    pieces = decoded_pieces(answer(bomb, "gzip", len(bomb)))
    assert max(len(next(pieces)) for _ in range(20)) <= PIECE_BYTES


@pytest.mark.parametrize(
    "body", [gzip.compress(BODY, mtime=0)[:-20], b"no gzip", gzip.compress(BODY, mtime=0)[:5]]
)
def test_a_damaged_body_is_refused(body: bytes) -> None:
    with pytest.raises(EncodingRefused):
        list(decoded_pieces(answer(body, "gzip")))
