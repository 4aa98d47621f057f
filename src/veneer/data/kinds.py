"""What a file is by its first bytes, whatever it is called; and the way out where it is not read."""

from __future__ import annotations

import re
from pathlib import Path

HEAD_BYTES = 4096

_BRANDS = {
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    "a video": (b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"3gp4", b"3gp5"),
}
_STARTS = {
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "a Photoshop file": (b"8BPS",),
    "a PDF": (b"%PDF",),
    "an archive": (b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf\x27", b"\x1f\x8b", b"BZh"),
    "a video": (b"\x1aE\xdf\xa3", b"OggS"),
    "a pointer of Git LFS": (b"version https://git-lfs",),
}
_WAYS_OUT = {
    "HEIC": "save it as JPEG or PNG, such as with `heif-convert`",
    "JPEG XL": "save it as JPEG or PNG, such as with `djxl`",
    "JPEG 2000": "save it as PNG",
    "a Photoshop file": "save it as PNG, flattened",
    "a drawing in SVG": "save it as PNG in the size wanted",
    "a PDF": "save its pages as PNG",
    "an archive": "unpack it",
    "a video": "save frames of it as PNG",
    "a pointer of Git LFS": "fetch the picture itself with `git lfs pull`",
    "a web page": "save the picture, not the page around it",
}


def head_of(path: Path) -> bytes:
    """Read the first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def kind_of(head: bytes) -> str:
    """Name a kind of file that is not read as a picture.

    Args:
        head: Its first bytes.

    Returns:
        Such as "HEIC"; empty where the kind is not known.
    """
    for kind, brands in _BRANDS.items():
        if head[4:8] == b"ftyp" and head[8:12] in brands:
            return kind
    for kind, starts in _STARTS.items():
        if head.startswith(starts):
            return kind
    if re.search(rb"<svg[\s>]", head):
        return "a drawing in SVG"
    if re.match(rb"\s*(<!doctype html|<html|<head|<body)", head, re.IGNORECASE):
        return "a web page"
    return ""


def why_not_read(head: bytes) -> str:
    """Say what a file is, and the way out.

    Args:
        head: Its first bytes.

    Returns:
        Such as "HEIC, which is not read: save it as JPEG or PNG, such as with `heif-convert`"; empty where
        the kind is not known.
    """
    kind = kind_of(head)
    return f"{kind}, which is not read: {_WAYS_OUT[kind]}" if kind else ""
