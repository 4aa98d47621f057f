"""Where pictures choose the checkpoint or the strength: what they are, none of which the verdict looks at.

Who judges on what he chose by finds a gain where there is none: the best of several candidates is, in part,
the luckiest. So one half of the held-out pictures chooses and the other judges, and choosing has prompts and
seeds of its own.
"""

from __future__ import annotations

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.records.cache import CachedItem, CacheIndex

SEED_SHIFT = 10_000_000
"""Distance of the seeds that choose from those that are judged."""


def is_chosen_by_pictures(recipe: Recipe) -> bool:
    """Whether drawn pictures choose anything before the verdict: the checkpoint, or the strength."""
    return recipe.train.choose == "style" or bool(recipe.compare.scales)


def judged_by(index: CacheIndex, recipe: Recipe) -> tuple[CachedItem, ...]:
    """The held-out pictures that the verdict looks at; all of them unless pictures choose."""
    held_out = index.split("held_out")
    return held_out[::2] if is_chosen_by_pictures(recipe) else held_out


def choosing(index: CacheIndex) -> tuple[CachedItem, ...]:
    """The held-out pictures that choose.

    Raises:
        RecipeError: If there are not two, one to choose and one to judge by.
    """
    held_out = index.split("held_out")
    if len(held_out) < 2:
        raise RecipeError(
            f"to choose by pictures takes two held-out pictures, one to choose and one to judge by, not "
            f"{len(held_out)}",
            where="train.choose, compare.scales",
            todo="Raise train.validation_share, give more pictures, or choose last and one compare.scale",
        )
    return held_out[1::2]


def choosing_jobs(index: CacheIndex, recipe: Recipe, *, at_least: int = 0) -> list[tuple[str, int]]:
    """Prompts and seeds that choose, as many as the recipe draws of its own.

    Captions of the pictures that choose come first, then those trained on; never a prompt that is judged,
    unless every caption is one.

    Args:
        at_least: Prompts at least, where there are so many captions.
    """
    own = recipe.generate.prompts
    judged = {*own, *(item.caption for item in judged_by(index, recipe))}
    known = dict.fromkeys(item.caption for item in (*choosing(index), *index.split("train")))
    prompts = [text for text in known if text not in judged][: max(len(own), at_least)] or list(own)
    return [(prompt, seed + SEED_SHIFT) for prompt in prompts for seed in recipe.generate.seeds]
