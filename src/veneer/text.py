"""Words and characters: counts and lists in a sentence, encodings of files from elsewhere, spellings."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from veneer.errors import DatasetError


def counted(number: int, word: str) -> str:
    """Write out how many there are of something.

    Args:
        number: How many.
        word: What one of them is called, such as "picture".

    Returns:
        Such as "1 picture" or "2 pictures".
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def some_of(names: Sequence[str], count: int = 10) -> str:
    """Write out the first of many names.

    Args:
        names: The names.
        count: How many are written out.

    Returns:
        Such as "a.png, b.png and 3 more".
    """
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def normal_form(name: str) -> str:
    """One spelling for names that look alike: macOS writes accents as characters of their own."""
    return unicodedata.normalize("NFC", name)


def read_text_any(path: Path) -> str:
    """Read text in UTF-8 with or without BOM, UTF-16 with BOM, or, failing these, Windows-1252.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        DatasetError: If it is in another script's old encoding: a wrong guess would spoil the captions.
    """
    raw = path.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if _accents_stand_together(raw):
            raise DatasetError(
                "neither UTF-8 nor a Western European encoding",
                where=str(path),
                todo="Save it as UTF-8, such as with `iconv -f GB18030 -t UTF-8` (or SHIFT_JIS, CP1251, ...)",
            ) from error
        return raw.decode("cp1252", errors="replace")


def _accents_stand_together(raw: bytes) -> bool:
    """Whether most bytes beyond ASCII have a neighbour of their kind: as in Chinese, not as in French."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", raw)]
    return sum(length for length in runs if length > 1) > sum(runs) / 2


def csv_rows(text: str) -> csv.DictReader[str]:
    """Read a table whose columns are separated by commas, semicolons (Excel in much of Europe) or tabs."""
    heading = text.partition("\n")[0]
    separator = next((mark for mark in ",;\t" if mark in heading), ",")
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
