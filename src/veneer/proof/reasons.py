"""Reasons of a verdict, and how numbers are put into words in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from veneer.intervals import MIN_UNITS
from veneer.stats import Measure, units_needed


@dataclass(frozen=True)
class Reason:
    """Why the verdict is what it is, or what else the user should know.

    Attributes:
        code: Short fixed name, such as "prompt-fell".
        text: What was found, with numbers.
        todo: The next thing to try; empty where there is nothing to do.
        decides: Whether the verdict rests on it.
    """

    code: str
    text: str
    todo: str = ""
    decides: bool = False

    def plain(self) -> dict[str, str | bool]:
        """Write as plain data.

        Returns:
            The object that metrics.json holds.
        """
        return asdict(self)


def signed(measure: Measure, level: Literal[95, 99] = 99) -> str:
    """Put a difference into words.

    Args:
        level: Which interval, in per cent.

    Returns:
        The difference with its sign and interval, or why there is none.
    """
    interval = measure.certain if level == 99 else measure.ci95
    if interval is None:
        return f"{measure.delta:+.3f}, {measure.note}"
    return f"{measure.delta:+.3f}, {level} % interval {interval[0]:+.3f} to {interval[1]:+.3f}"


def percent(share: float) -> str:
    """A share, in per cent."""
    return f"{100 * share:.0f} %"


def shares(measure: Measure) -> str:
    """Both shares of a measure that counts pictures."""
    return f"{percent(measure.tuned)} of pictures, with the base in {percent(measure.base)}"


def more_prompts(measure: Measure) -> str:
    """What a measure without interval needs."""
    missing = max(1, MIN_UNITS - measure.n)
    return f"Add {missing} {'prompt' if missing == 1 else 'prompts'} at least, or compare.held_out_prompts"


def more_units(measure: Measure, margin: float) -> str:
    """How many prompts would show that a loss is within a margin, if it stays what it is."""
    needed = units_needed(measure, margin)
    if needed is None or needed <= measure.n:
        return "Add prompts"
    return f"Add prompts: about {needed} in all would tell"
