"""What chooses by style is never what judges; by simulation, choosing then raises no false alarm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.indexes import cache_index, cached_item
from veneer import intervals
from veneer.config import Recipe
from veneer.encoding.choosing import choosing, choosing_jobs, judged_by
from veneer.errors import RecipeError
from veneer.proof.likeness import style_measure
from veneer.proof.pairs import View
from veneer.proof.promptset import build_jobs, build_prompts
from veneer.recipe import resolve
from veneer.records.cache import CacheIndex


def index_of(num_held_out: int, caption: str = "a {}") -> CacheIndex:
    return cache_index(
        [
            cached_item(
                file_name=f"images/{n}.png",
                caption=caption.format(n),
                split="held_out" if n < num_held_out else "train",
            )
            for n in range(12)
        ],
        native_px=32,
    )


def recipe_of(choose: str) -> Recipe:
    own: dict[str, Any] = {"prompts": ["a cat", "a 1", "a dog"], "seeds": [0, 1]}
    return resolve({"train": {"choose": choose}, "generate": own})


def test_no_picture_prompt_or_seed_chooses_and_judges() -> None:
    index, recipe = index_of(5), recipe_of("style")
    judges, chooses = judged_by(index, recipe), choosing(index)
    assert {one.file_name for one in (*judges, *chooses)} == {f"images/{n}.png" for n in range(5)}
    assert not {one.file_name for one in judges} & {one.file_name for one in chooses}
    judged = build_jobs(build_prompts(recipe, [one.caption for one in judges]), recipe.generate.seeds)
    jobs = choosing_jobs(index, recipe)
    assert len(jobs) == 6
    assert not {prompt for prompt, _ in jobs} & {job.prompt.prompt for job in judged}
    assert not {seed for _, seed in jobs} & {job.seed for job in judged}


def test_another_rule_leaves_every_held_out_picture_to_the_verdict() -> None:
    assert len(judged_by(index_of(5), recipe_of("validation"))) == 5


def test_one_caption_for_all_chooses_by_the_recipes_prompts_with_seeds_of_its_own() -> None:
    jobs = choosing_jobs(index_of(4, caption="a 1"), recipe_of("style"))
    assert {prompt for prompt, _ in jobs} == {"a cat", "a 1", "a dog"}
    assert not {seed for _, seed in jobs} & {0, 1}


def test_one_held_out_picture_cannot_do_both() -> None:
    with pytest.raises(RecipeError, match="two held-out pictures"):
        choosing(index_of(1))


PROMPTS, CANDIDATES, WIDTH = 24, 40, 16


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def luckiest(random: np.random.Generator, *, apart: bool) -> bool:
    """Whether the best of equal candidates, each no more than the base drawn again, is called nearer."""
    judges, chooses = unit(random.normal(size=(2, 6, WIDTH)) + 1)
    training = unit(random.normal(size=(24, WIDTH)) + 1)
    subjects, others = random.normal(size=(2, PROMPTS, WIDTH))
    drawn = unit(subjects + random.normal(size=(1 + CANDIDATES, PROMPTS, WIDTH)))
    chosen_by = unit(others + random.normal(size=(CANDIDATES, PROMPTS, WIDTH))) if apart else drawn[1:]
    likeness = chosen_by @ (chooses if apart else judges).T
    best = int(likeness.mean((1, 2)).argmax())
    view = View(drawn[0], drawn[1 + best], None, judges, training)
    return style_measure(view, range(PROMPTS)).rises


@pytest.mark.parametrize(("apart", "low", "high"), [(True, 0, 0.01), (False, 0.02, 1)])
def test_the_luckiest_of_equal_candidates_is_not_called_nearer(
    monkeypatch: pytest.MonkeyPatch, apart: bool, low: float, high: float
) -> None:
    """Chosen by what judges, more than one in fifty rises for nothing; chosen apart, one in a hundred.

    The t interval alone, for speed: with the bootstrap's beside it intervals are only wider.
    """
    monkeypatch.setattr(intervals, "_bootstrap", lambda values, level, seed: (values.mean(), values.mean()))
    random = np.random.default_rng(1)
    false = np.mean([luckiest(random, apart=apart) for _ in range(300)])
    assert low <= false <= high
