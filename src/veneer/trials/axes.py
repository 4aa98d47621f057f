"""What is varied: ``table.key=value,value`` as a list, ``table.key=low..high`` as a range to search in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from veneer.errors import RecipeError
from veneer.recipe import known_keys, toml_value

RULER = (
    "generate.prompts",
    "generate.seeds",
    "compare.embedder",
    "compare.general_prompts",
    "compare.held_out_prompts",
    "compare.prompt_margin",
)
"""Keys that trials are measured by: varied, they would change the ruler and not the thing."""
MOST_TRIALS = 10_000
"""Most combinations of listed values."""
FEWEST_DECADES = 10.0
"""A range of numbers at least so many times wider than its low end is searched by factors."""


@dataclass(frozen=True)
class Axis:
    """One key and what it may be.

    Attributes:
        values: The values to try, as TOML; empty where it is a range.
        low: Lower end of a range.
        high: Upper end of a range, above `low`.
        is_whole: Whether a range holds whole numbers alone.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = False

    @property
    def is_logarithmic(self) -> bool:
        """Whether a range is searched by factors."""
        return self.low > 0 and self.high >= FEWEST_DECADES * self.low


def read_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Read what is varied.

    Args:
        texts: Each ``table.key=value,value,...`` or ``table.key=low..high``.

    Raises:
        RecipeError: If one is neither, names an unknown key twice or one that trials are measured by.
    """
    if not texts:
        raise RecipeError("nothing is varied", where="--over", todo="Name keys: --over lora.rank=4,16")
    axes = tuple(_axis(text) for text in texts)
    for number, axis in enumerate(axes):
        if axis.key in {one.key for one in axes[:number]}:
            raise RecipeError(
                "named twice", where=f"--over {axis.key}", todo="Put all its values into one --over"
            )
    return axes


def combinations(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Every combination of listed values, the last axis changing fastest.

    Raises:
        RecipeError: If an axis is a range, or there are more than `MOST_TRIALS`.
    """
    for axis in axes:
        if not axis.values:
            todo = "Add --search N, or list values with commas"
            raise RecipeError("a range has no end of values", where=f"--over {axis.key}", todo=todo)
    if (count := math.prod(len(axis.values) for axis in axes)) > MOST_TRIALS:
        todo = f"Leave values out, or let --search N choose among them; at most {MOST_TRIALS} are tried"
        raise RecipeError(f"{count} trials", where="--over", todo=todo)
    rows = itertools.product(*(axis.values for axis in axes))
    return [dict(zip((axis.key for axis in axes), row, strict=True)) for row in rows]


def end_settings(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Every listed value and both ends of every range, each by itself: what does not fit is found by them."""
    ends = [(axis, _written(axis, end)) for axis in axes if not axis.values for end in (axis.low, axis.high)]
    listed = [(axis, value) for axis in axes for value in axis.values]
    return [{axis.key: value} for axis, value in (*ends, *listed)]


def _written(axis: Axis, value: float) -> str:
    return str(int(value)) if axis.is_whole else f"{value:g}"


def _axis(text: str) -> Axis:
    key, equals, told = (part.strip() for part in text.partition("="))
    where = f"--over {text}"
    if not equals or not told or key.count(".") != 1:
        raise RecipeError("not something to vary", where=where, todo="Write it as table.key=value,value")
    if key not in known_keys():
        raise RecipeError(f"unknown key `{key}`", where=where, todo="See docs/reference/recipe.md")
    if key in RULER:
        raise RecipeError(
            "trials are measured by this key", where=where, todo="Set it for all of them with --set"
        )
    if (ends := _ends(told)) is not None:
        return _range(key, *ends, where)
    values = tuple(dict.fromkeys(part.strip() for part in _parts(told) if part.strip()))
    return Axis(key, values)


def _ends(told: str) -> tuple[str, str] | None:
    low, dots, high = told.partition("..")
    return (low, high) if dots and "," not in told and "'" not in told and '"' not in told else None


def _range(key: str, low: str, high: str, where: str) -> Axis:
    try:
        ends = [toml_value(low), toml_value(high)]
        numbers = [float(one) for one in ends if isinstance(one, (int, float)) and not isinstance(one, bool)]
    except (ValueError, OverflowError):  # no number, or one of hundreds of digits
        numbers = []
    if len(numbers) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        raise RecipeError("not a range of numbers", where=where, todo="Write it as low..high")
    low_end, high_end = numbers
    return Axis(key, (), low_end, high_end, is_whole=all(isinstance(one, int) for one in ends))


def _parts(told: str) -> Iterator[str]:
    """Cut at commas that stand in no list and no text."""
    depth, quote, part = 0, "", ""
    for letter in told:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quote:
            yield part
            part = ""
        else:
            part += letter
    yield part
