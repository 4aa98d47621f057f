"""What is wrong with a caption that a model wrote: loops, made-up words, nothing said, too much said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from veneer.models.vocabulary import MAX_TOKENS

Fault = Literal["empty", "loop", "artefact", "too-long", "same-as-others", "low-agreement"]

MANY_ALIKE = 3
"""From this many pictures with one and the same caption on, it says little about each."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001 - both apostrophes are meant
_ARTEFACT = re.compile(r"\barr?aff?(?!at)\w*|\[unk\]|\[unused\d*\]|##|\ufffd", re.IGNORECASE)
_FILLER = frozenset({"a", "an", "the", "of", "with", "and", "in", "on", "is", "there", "are"})


def text_faults(caption: str, count_tokens: Callable[[str], int] | None = None) -> tuple[Fault, ...]:
    """Look at one caption.

    Args:
        caption: A generated caption, with whatever is put before it.
        count_tokens: Counts CLIP's tokens with both marks; without it they are estimated.

    Returns:
        Its faults; none where it is fit for training.
    """
    words = _words(caption)
    faults: list[Fault] = []
    if not words:
        return ("empty",)
    if has_loop(words):
        faults.append("loop")
    if _ARTEFACT.search(caption):
        faults.append("artefact")
    if (count_tokens or estimate_tokens)(caption) > MAX_TOKENS:
        faults.append("too-long")
    return tuple(faults)


def tag_faults(caption: str, count_tokens: Callable[[str], int] | None = None) -> tuple[Fault, ...]:
    """Look at one caption of tags, which are words from a list and may well be alike."""
    found = text_faults(caption, count_tokens)
    return tuple(one for one in found if one in ("empty", "too-long"))


def has_loop(words: list[str]) -> bool:
    """Whether words go round in circles: "a bald bald bald", "in front of a house in front of a house".

    Args:
        words: Words in lower case.

    Returns:
        True where up to three words come at least three times in a row, or four to ten come twice.
    """
    for size in range(1, 11):
        times = 2 if size >= 4 else 3
        for start in range(len(words) - size * times + 1):
            piece = words[start : start + size]
            if all(words[start + i * size : start + (i + 1) * size] == piece for i in range(1, times)):
                return True
    counts = Counter(word for word in words if word not in _FILLER)
    return len(words) >= 8 and max(counts.values(), default=0) > len(words) / 3


def estimate_tokens(caption: str) -> int:
    """Estimate the number of CLIP tokens without its vocabulary.

    Args:
        caption: Any text.

    Returns:
        Tokens with both marks; within about a tenth for English, too high rather than too low.
    """
    pieces = re.findall(r"[^\W\d_]+|\d|[^\w\s]+", caption)
    return 2 + sum(1 + (len(piece) - 1) // 9 if piece.isascii() else len(piece) for piece in pieces)


def sameness_key(caption: str) -> str:
    """What two captions share that say the same.

    Returns:
        Its words without small ones, order and number.
    """
    return " ".join(sorted({word.removesuffix("s") for word in _words(caption) if word not in _FILLER}))


def too_common(keys: Iterable[str]) -> frozenset[str]:
    """Find captions that many pictures share.

    Args:
        keys: The key of each picture's caption (`sameness_key`).

    Returns:
        Keys of `MANY_ALIKE` pictures or more.
    """
    return frozenset(key for key, count in Counter(keys).items() if count >= MANY_ALIKE)


def _words(caption: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(caption)]
