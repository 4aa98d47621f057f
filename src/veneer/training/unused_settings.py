"""Settings that would not act: each is told of, and a word that could not be learnt is refused.

Only settings that were changed count: a default that plays no part in a recipe is no surprise.
"""

from __future__ import annotations

from collections.abc import Iterator

from veneer.config import LoraTable, Recipe, TrainTable
from veneer.errors import RecipeError
from veneer.events import Notice, OnEvent
from veneer.records.cache import CacheIndex

STAGE = "train"
OF_LAYERS = ("rank", "lora_alpha", "init", "dropout", "use_rslora", "use_dora", "rank_pattern")
"""Settings of a LoRA's layers, which act where there are any."""
OF_WORD = ("embedding_vectors", "embedding_init")


def tell_idle_settings(recipe: Recipe, index: CacheIndex, on_event: OnEvent) -> None:
    """Tell of every setting that does not act in this recipe.

    Args:
        recipe: The resolved recipe.
        index: What the cache holds.
        on_event: Gets a notice for each.

    Raises:
        RecipeError: If no caption calls the word that is to be learnt.
    """
    _refuse_uncalled_word(recipe.lora.embedding_token, index, on_event)
    for key, why in [*_idle_lora(recipe.lora), *_idle_train(recipe, index)]:
        on_event(Notice(STAGE, "setting-idle", f"{key} does not act: {why}"))


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


def _idle_lora(lora: LoraTable) -> Iterator[tuple[str, str]]:
    if lora.target_modules == "none":
        keys = () if lora.text_encoder else OF_LAYERS
        for key in _changed(lora, (*keys, "timestep_rank")):
            yield f"lora.{key}", "lora.target_modules is none"
    if not lora.embedding_token:
        for key in _changed(lora, OF_WORD):
            yield f"lora.{key}", "lora.embedding_token names no word"


def _idle_train(recipe: Recipe, index: CacheIndex) -> Iterator[tuple[str, str]]:
    train = recipe.train
    if train.snr_gamma != TrainTable().snr_gamma and "snr" not in train.loss_weighting:
        yield "train.snr_gamma", f"train.loss_weighting is {train.loss_weighting}"
    if train.lr_warmup_steps and train.lr_scheduler == "constant":
        yield "train.lr_warmup_steps", 'train.lr_scheduler is constant; "constant_with_warmup" rises first'
    if train.prior_sources and not train.prior_loss_weight:
        yield "train.prior_sources", "train.prior_loss_weight is 0"
    if train.prior_loss_weight and not train.prior_sources and recipe.lora.target_modules == "none":
        yield "train.prior_loss_weight", "the UNet has no adapter that could be switched off"
    if not index.split("held_out"):
        for key in _changed(train, ("patience",)):
            yield f"train.{key}", "no picture is held out"


def _changed(table: LoraTable | TrainTable, keys: tuple[str, ...]) -> list[str]:
    return [
        key
        for key in keys
        if getattr(table, key) != type(table).model_fields[key].get_default(call_default_factory=True)
    ]
