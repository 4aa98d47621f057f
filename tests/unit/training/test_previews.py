"""What previews cost, in passes through the network, beside what training costs."""

from __future__ import annotations

import pytest

from veneer.recipe import bundled_names, load_recipe
from veneer.training.previews import MAX_INFERENCE_STEPS, MAX_PROMPTS

MOST = 0.05
A_STEP = 3
"""A training pass in passes forward: the way back costs two."""


@pytest.mark.parametrize("name", bundled_names())
def test_every_recipe_draws_previews_and_pays_little_for_them(name: str) -> None:
    recipe = load_recipe(name)
    train, generate = recipe.train, recipe.generate
    assert train.preview_steps is not None
    passes = min(len(generate.prompts), MAX_PROMPTS) * min(generate.num_inference_steps, MAX_INFERENCE_STEPS)
    drawn = (
        (1 + -(-train.max_train_steps // train.preview_steps))
        * passes
        * (2 if generate.guidance_scale > 1 else 1)
    )
    pictures = train.max_train_steps * train.train_batch_size * train.gradient_accumulation_steps
    assert drawn / (A_STEP * pictures) < MOST
