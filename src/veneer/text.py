"""Words and characters: counts and lists in a sentence, encodings of files from elsewhere, spellings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from veneer.errors import DatasetError

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FACE = re.compile(r"[^a-z0-9()]*[a-z0-9]?_[a-z0-9]?[^a-z0-9()]*", re.IGNORECASE)
"""Faces of characters, such as ^_^ and o_o, whose underscore is the nose's place."""


def tags_of(caption: str) -> list[str]:
    """The tags of a caption, which commas part."""
    return [tag for one in caption.split(",") if (tag := one.strip())]


def spaced_tag(tag: str) -> str:
    """A booru site's tag with spaces for underscores; a face such as ^_^ stays."""
    return tag if _FACE.fullmatch(tag) else tag.replace("_", " ")


def with_trigger(text: str, trigger: str) -> str:
    """Put the trigger word before a caption, once.

    Args:
        trigger: The word; empty for none.

    Returns:
        The caption, beginning with the trigger.
    """
    if not trigger or text == trigger or text.startswith((f"{trigger} ", f"{trigger},")):
        return text
    return f"{trigger}, {text}" if text else trigger


def counted(number: int, word: str) -> str:
    """Write out how many there are of something.

    Args:
        word: What one of them is called, such as "picture".

    Returns:
        Such as "1 picture" or "2 pictures".
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def shown(text: str) -> str:
    """Make a text harmless to a terminal: a file's name or a stranger's words may hold what steers one.

    Args:
        text: Anything, in several lines.

    Returns:
        It, with what would steer the terminal or turn the writing round written out as in JSON.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def some_of(names: Sequence[str], count: int = 10) -> str:
    """Write out the first of many names.

    Args:
        count: How many are written out.

    Returns:
        Such as "a.png, b.png and 3 more".
    """
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def normal_form(name: str) -> str:
    """One spelling for names that look alike: macOS writes accents as characters of their own."""
    return unicodedata.normalize("NFC", name)


MOST_TEXT_BYTES = 2**30
"""Largest file that is read as text, in bytes: lists of addresses and captions of the largest sets."""


def read_text_any(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """Read text in UTF-8 with or without BOM, UTF-16 with BOM, or, failing these, Windows-1252.

    Args:
        most_bytes: Largest file that is read.

    Raises:
        DatasetError: If it is too large, no text, cut, or in another script's old encoding: a wrong guess
            would spoil the captions.
    """
    raw = _read_bytes(path, most_bytes)
    is_utf_16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = raw.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if is_utf_16 or (error.reason == "unexpected end of data" and _is_utf_8(raw[: error.start])):
            raise DatasetError(
                "the file ends in the middle of a character", where=str(path), todo="Write it anew"
            ) from error
        if _accents_stand_together(raw):
            raise DatasetError(
                "neither UTF-8 nor a Western European encoding",
                where=str(path),
                todo="Save it as UTF-8, such as with `iconv -f GB18030 -t UTF-8` (or SHIFT_JIS, CP1251, ...)",
            ) from error
        text = raw.decode("cp1252", errors="replace")
    if "\0" in text:
        raise DatasetError("not a text", where=str(path), todo="Save it as UTF-8, or take it away")
    return text


def _read_bytes(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(most_bytes + 1) if path.stat().st_size <= most_bytes else b""
            too_large = len(raw) > most_bytes or path.stat().st_size > most_bytes
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if too_large:
        raise DatasetError(f"larger than {most_bytes / 2**20:g} MiB, too large for a text", where=str(path))
    return raw


def _is_utf_8(raw: bytes) -> bool:
    """Whether bytes are UTF-8 with characters beyond ASCII, which no other encoding looks like."""
    return any(byte > 127 for byte in raw)


def _accents_stand_together(raw: bytes) -> bool:
    """Whether most bytes beyond ASCII have a neighbour of their kind: as in Chinese, not as in French."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", raw)]
    return sum(length for length in runs if length > 1) > sum(runs) / 2


def separator_of(table: str) -> str:
    """What stands between the columns of a table: a comma, a semicolon (Excel in much of Europe) or a tab."""
    heading = table.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in heading), ",")
