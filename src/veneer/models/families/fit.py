"""What a recipe asks of a base that its family cannot do, refused by name before anything is encoded."""

from __future__ import annotations

from collections.abc import Iterator

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.models.families.family import Family


def refuse_beyond(recipe: Recipe, family: Family) -> None:
    """Refuse what the family's bases cannot do.

    Raises:
        RecipeError: With the first key, and what to set instead.
    """
    for key, what, todo in _unfit(recipe, family):
        raise RecipeError(f"{what} on {family.label}", where=key, todo=todo)


def _unfit(recipe: Recipe, family: Family) -> Iterator[tuple[str, str, str]]:
    """Keys with what is not done, and the way out."""
    lora, generate = recipe.lora, recipe.generate
    if lora.text_encoder and not family.adapts_text:
        yield (
            "lora.text_encoder",
            "text encoders get no adapter",
            "Leave it out: captions are learnt without",
        )
    if lora.use_dora and not family.holds_dora:
        what = "DoRA is not written into files for ComfyUI, where projections lie in one matrix,"
        yield "lora.use_dora", what, "Leave it out"
    if recipe.train.mixed_precision == "fp16" and not family.fits_half:
        yield "train.mixed_precision", "numbers overflow in float16", 'Set train.mixed_precision = "bf16"'
    if recipe.train.cuda_graph and not family.keeps_shapes:
        what = "a step cannot be recorded, as captions differ in length,"
        yield "train.cuda_graph", what, "Set train.cuda_graph = false"
    if generate.scheduler not in family.samplers:
        names = " or ".join(f'"{name}"' for name in family.samplers)
        yield "generate.scheduler", f"{generate.scheduler} does not draw", f"Set generate.scheduler = {names}"
    if generate.negative_prompt and not family.has_negative:
        yield "generate.negative_prompt", "its pipeline takes no negative prompt", "Leave it empty"
    if generate.two_pass and not family.has_refiner:
        yield "generate.two_pass", "pictures are not drawn over", "Draw in one pass: it draws large pictures"
