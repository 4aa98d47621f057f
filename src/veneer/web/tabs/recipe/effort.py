"""Quick, Balanced and Thorough: a recipe at a quarter of its steps, as it is, and at twice of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from veneer.config import Recipe

Effort = Literal["Quick", "Balanced", "Thorough"]
MEANING: Mapping[Effort, str] = {
    "Quick": "a quarter of the steps and one seed, to see whether pictures and words are right; "
    "seldom enough for a verdict",
    "Balanced": "as the recipe says",
    "Thorough": "twice the steps and twice the seeds: twice the time, and a surer verdict",
}
SHARES: Mapping[Effort, float] = {"Quick": 0.25, "Balanced": 1.0, "Thorough": 2.0}
SCALED = ("max_train_steps", "lr_warmup_steps", "checkpointing_steps", "validation_steps", "preview_steps")
"""Keys of the table train that go with the steps: as many looks at the run, whatever its length."""
EFFORT_KEYS = (*(f"train.{key}" for key in SCALED), "generate.seeds")
"""What an effort sets."""


def with_effort(recipe: Recipe, effort: Effort) -> dict[str, Any]:
    """What an effort sets, relative to a recipe.

    Returns:
        Values by the full names of their keys, in the order of `EFFORT_KEYS`.
    """
    share = SHARES[effort]
    steps = {f"train.{key}": _scaled(getattr(recipe.train, key), share) for key in SCALED}
    return {**steps, "generate.seeds": _seeds(recipe.generate.seeds, share)}


def told(recipe: Recipe, effort: Effort) -> str:
    """What an effort means for a recipe, in numbers."""
    values = with_effort(recipe, effort)
    steps, seeds = values["train.max_train_steps"], len(values["generate.seeds"])
    counted = f"{steps} steps, {seeds} {'seed' if seeds == 1 else 'seeds'} a prompt"
    return f"{effort}: {MEANING[effort]}. {counted}, a look at the held-out loss every " + (
        f"{values['train.validation_steps']} steps. What else stands in the form is left as it is."
    )


def _scaled(value: int | None, share: float) -> int | None:
    """A number of steps; none stays none, and 0 stays 0."""
    return max(1, round(value * share)) if value else value


def _seeds(seeds: Sequence[int], share: float) -> tuple[int, ...]:
    """The first of them, all, or as many new ones besides."""
    if share <= 1:
        return tuple(seeds[: max(1, round(len(seeds) * share))])
    first = max(seeds, default=-1) + 1
    return (*seeds, *range(first, first + len(seeds)))
