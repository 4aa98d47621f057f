"""The prompt set of a run: which prompts are drawn, with which seeds, and what each picture is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from veneer.config import Recipe
from veneer.errors import RunError
from veneer.records.prompts import Kind, Prompt

HELD_OUT_SEEDS = 2
"""Seeds drawn for a held-out caption: two, so that diversity is known for it."""
GENERAL_SEEDS = 1
"""Seeds drawn for a general prompt: it is compared with the base's own picture of the same seed."""
SEED_STRIDE = 1000
"""Distance of the seeds of one prompt from the next one's, so that prompts share no noise."""


@dataclass(frozen=True)
class Job:
    """One picture to draw, by base and by tuned model."""

    prompt: Prompt
    seed: int

    @property
    def file_name(self) -> str:
        """Name of the picture, such as ``003-0.png``."""
        return f"{self.prompt.index:03d}-{self.seed}.png"


def build_prompts(recipe: Recipe, held_out: Sequence[str]) -> list[Prompt]:
    """Put the prompt set together; a prompt that comes twice is drawn once.

    Args:
        held_out: Captions of the held-out pictures.

    Returns:
        Recipe prompts, then held-out captions, then general prompts.

    Raises:
        RunError: If there is no prompt at all.
    """
    taken = list(dict.fromkeys(held_out))[: recipe.compare.held_out_prompts]
    kinds: dict[str, Kind] = dict.fromkeys(recipe.generate.prompts, "recipe")
    for text in taken:
        kinds.setdefault(text, "held_out")
    for text in recipe.compare.general_prompts:
        kinds.setdefault(text, "general")
    if not kinds:
        raise RunError("no prompt to draw", where="generate.prompts", todo="Name at least one prompt")
    return [Prompt(index=index, prompt=text, kind=kind) for index, (text, kind) in enumerate(kinds.items())]


def build_jobs(prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Job]:
    """Which pictures are drawn: every seed for the recipe's prompts, a few for the others.

    Recipe prompts are drawn with the recipe's seeds as they are, side by side as in a grid. The others get
    seeds of their own, because pictures from one noise resemble each other whatever the prompt: with shared
    noise, prompts would be less independent than the intervals take them to be.

    Args:
        prompts: The prompt set.
        seeds: The recipe's seeds, at least one.

    Raises:
        RunError: If there is no seed, or one is none that a generator takes.
    """
    unique = list(dict.fromkeys(seeds))
    if not unique:
        raise RunError("no seed to draw with", where="generate.seeds", todo="Name at least one seed")
    if odd := [seed for seed in unique if not -(2**63) <= seed < 2**63]:
        raise RunError(f"{odd[0]} is no seed", where="seeds", todo="Take a whole number below 2^63")
    limits: dict[Kind, int] = {
        "recipe": len(unique),
        "held_out": HELD_OUT_SEEDS,
        "general": GENERAL_SEEDS,
    }
    jobs = []
    for prompt in prompts:
        shift = 0 if prompt.kind == "recipe" else SEED_STRIDE * prompt.index
        jobs += [Job(prompt, seed + shift) for seed in unique[: limits[prompt.kind]]]
    return jobs
