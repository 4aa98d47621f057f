"""What the Python names are handed: strings and paths alike, and one sentence for what is neither."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from veneer.errors import ArgumentError

PathLike = str | os.PathLike[str]


def given_path(given: object, name: str) -> Path:
    """A path, however it is written; ``~`` is the home folder.

    Args:
        name: The argument, for the message.

    Raises:
        ArgumentError: If it is no path, or an empty one.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise wrong_kind(name, "a path: a string or a pathlib.Path", given)
    text = os.fspath(given)
    if not isinstance(text, str) or not text:
        raise wrong_kind(name, "a path: a string or a pathlib.Path", given)
    return Path(text).expanduser() if text[:1] == "~" else Path(text)


def given_texts(given: object, name: str) -> tuple[str, ...]:
    """Several texts or paths; one stands for a list of one.

    Raises:
        ArgumentError: If there is something else among them.
    """
    if isinstance(given, (str, os.PathLike)):
        given = (given,)
    if not isinstance(given, Iterable):
        raise wrong_kind(name, "a string or a list of them", given)
    several = tuple(given)
    for one in several:
        if not isinstance(one, (str, os.PathLike)):
            raise wrong_kind(name, "a string or a list of them", one)
    return tuple(str(os.fspath(one)) for one in several)


def given_numbers(given: object, name: str) -> tuple[int, ...]:
    """Several whole numbers; one stands for a list of one.

    Raises:
        ArgumentError: If there is something else among them.
    """
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for one in several:
        if not hasattr(one, "__index__") or isinstance(one, bool):
            raise wrong_kind(name, "a whole number or a list of them", one)
    return tuple(int(one) for one in several)


def refuse_other_words(given: Collection[str], known: Collection[str], name: str) -> None:
    """Refuse words that are none of those known.

    Raises:
        ArgumentError: With the words there are.
    """
    for word in given:
        if word not in known:
            todo = f"Take some of: {', '.join(known)}"
            raise ArgumentError(f"`{name}` has {word!r}, which there is not", todo=todo)


def wrong_kind(name: str, wanted: str, given: object) -> ArgumentError:
    """The error for an argument of another type.

    Args:
        wanted: What it should be, with its article.
    """
    text = repr(given)
    short = text if len(text) <= 60 else f"{text[:60]} ..."
    return ArgumentError(f"`{name}` is {wanted}; got {short}, which is of type {type(given).__name__}")
