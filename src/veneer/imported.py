"""Another trainer's configuration on its way to a recipe: read in bounds, and told of line by line.

The file may be a stranger's: it is read in bounds, its words steer no terminal, and what is no number is left
out with a line that says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from veneer.config import Recipe
from veneer.errors import RecipeError, VeneerError
from veneer.recipe import resolve
from veneer.text import read_text_any, shown

MOST_BYTES = 2**18
"""Largest configuration; those that people have take some ten thousand."""
DEEPEST_TABLES, DEEPEST_BRACKETS = 12, 200
"""How deep values may lie, and how many brackets may be open, those in texts counted: a parser of YAML looks
at all that are open for every word."""
LONGEST_SETTING, LONGEST_WORDS = 40, 240
"""What is shown of a setting's name, and of what became of it."""
Fate = Literal["taken", "changed", "left out"]
OPTIMIZER_NAMES = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "adafactor": "adafactor",
    "lion": "lion",
    "prodigy": "prodigy",
    "adamwschedulefree": "schedulefree",
}
"""Optimizers by the names that other trainers have for them."""


@dataclass(frozen=True)
class Became:
    """What became of one setting.

    Attributes:
        name: The trainer's name of it, or a folder.
        words: What it is here, or why not.
    """

    name: str
    outcome: Fate
    words: str


@dataclass
class Imported:
    """A recipe in the making, with what became of every setting."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[Became] = field(default_factory=list)

    def put(self, key: str, value: Any) -> None:
        """Set a key of the recipe, such as "train.seed"."""
        table, name = key.split(".")
        self.tables.setdefault(table, {})[name] = value

    def tell(self, name: str, outcome: Fate, words: str) -> None:
        """Note what became of a setting."""
        self.lines.append(Became(name, outcome, words))

    def recipe(self) -> Recipe:
        """The recipe, resolved.

        Raises:
            RecipeError: If a value does not fit.
        """
        return resolve(self.tables, where="the imported settings")


def read_configuration(place: Path, parse: Callable[[str], Any], form: str) -> Any:
    """Read a configuration of another trainer's, which may be a stranger's.

    Args:
        parse: Reads its text.
        form: What it should be, such as "TOML".

    Raises:
        RecipeError: If it cannot be read, or is larger than any that people have, written out or not.
    """
    if not place.is_file():
        raise RecipeError("no such file", where=str(place))
    try:
        text = read_text_any(place, MOST_BYTES)
        read = parse(text) if _deepest(text) <= DEEPEST_BRACKETS else None
    except VeneerError as error:
        raise RecipeError(f"no {form}: {error.what}", where=str(place)) from error
    except Exception as error:  # a parser raises any kind: KeyError for a word that is no number, ...
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecipeError(f"no {form}: {what}", where=str(place)) from error
    if read is None or not _is_moderate(read):
        raise RecipeError("too much for a configuration", where=str(place), todo="Name another file")
    return read


def _deepest(text: str) -> int:
    """Most brackets that are open at once."""
    steps = (1 if one in "[{" else -1 for one in text if one in "[]{}")
    return max(itertools.accumulate(steps), default=0)


def _is_moderate(value: Any) -> bool:
    """Whether values are few and flat: a few names of YAML can stand for thousands of millions."""
    left, places = MOST_BYTES, [(value, 0)]
    while places:
        one, depth = places.pop()
        left -= len(one) if isinstance(one, str | bytes) else 1
        if left < 0 or depth > DEEPEST_TABLES:
            return False
        if isinstance(one, dict):
            places += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple | set | frozenset):
            places += [(part, depth + 1) for part in one]
    return True


def folder_named(home: Path, name: Any) -> Path:
    """A folder that a configuration names.

    Raises:
        RecipeError: If it can be no path.
    """
    try:
        folder = home / Path(str(name)).expanduser()
        folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise RecipeError(f"no usable path: {str(name)[:80]!r}", where=str(home)) from error
    return folder


def steps_of(epochs: Any, pictures: int, *batch: Any) -> int:
    """Steps in so many epochs.

    Args:
        batch: Numbers whose product is how many pictures a step takes.

    Raises:
        ValueError: If one is no number that makes sense.
    """
    try:
        taken = math.prod(int(one) for one in batch)
        return max(1, int(epochs) * -(-pictures // taken))
    except (TypeError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"no number: {error}") from error


def report_of(found: Imported) -> Iterator[str]:
    """One line for each setting; a stranger's words steer no terminal and fill none."""
    names = [_cut(shown(line.name), LONGEST_SETTING) for line in found.lines]
    width = max(map(len, names), default=0)
    for name, line in zip(names, found.lines, strict=True):
        yield f"{name:<{width}}  {line.outcome:<8}  {_cut(shown(line.words), LONGEST_WORDS)}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
