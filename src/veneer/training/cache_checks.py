"""What of a recipe does not go with the cache: told, or refused, before training starts."""

from __future__ import annotations

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.events import Notice, OnEvent
from veneer.records.cache import CacheIndex
from veneer.training import STAGE
from veneer.unused_settings import Unused, changed_keys


def check_against_cache(recipe: Recipe, index: CacheIndex, on_event: OnEvent) -> None:
    """Tell of settings that the pictures or captions keep from acting.

    Raises:
        RecipeError: If no caption calls the word that is to be learnt.
    """
    _refuse_uncalled_word(recipe.lora.embedding_token, index, on_event)
    if recipe.train.validation_share and not index.split("held_out"):
        for key in changed_keys(recipe.train, ("patience",)):
            on_event(Unused(f"train.{key}", "no picture is held out").notice)


def _refuse_uncalled_word(token: str, index: CacheIndex, on_event: OnEvent) -> None:
    if not token:
        return
    items = index.split("train")
    calling = sum(token in item.caption for item in items)
    if not calling:
        raise RecipeError(
            f"no caption calls the word {token}, so nothing could be learnt for it",
            where="lora.embedding_token",
            todo=f'Set caption.trigger = "{token}", and caption and encode again',
        )
    if calling < len(items):
        message = f"{len(items) - calling} of {len(items)} captions do not call the word {token}"
        on_event(Notice(STAGE, "word-seldom-called", message))
