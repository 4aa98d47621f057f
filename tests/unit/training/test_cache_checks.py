"""What of a recipe the pictures and captions keep from acting."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.indexes import cache_index, cached_item
from veneer.errors import RecipeError
from veneer.events import Notice
from veneer.recipe import resolve
from veneer.records.cache import CacheIndex, Split
from veneer.training.cache_checks import check_against_cache


def index_of(*splits: Split) -> CacheIndex:
    items = tuple(
        cached_item(file_name=f"{n}.png", caption="<w>, a cat" if n else "a cat", split=split)
        for n, split in enumerate(splits)
    )
    return cache_index(items)


def told(tables: dict[str, dict[str, Any]], index: CacheIndex) -> list[tuple[str, str]]:
    events: list[Any] = []
    check_against_cache(resolve(tables), index, events.append)
    return [(event.code, event.message.split(" ")[0]) for event in events if isinstance(event, Notice)]


def test_patience_needs_held_out_pictures() -> None:
    patience = {"train": {"patience": 3}}
    assert told(patience, index_of("train")) == [("setting-idle", "train.patience")]
    assert told(patience, index_of("train", "held_out")) == []


def test_what_the_recipe_itself_shows_is_not_told_twice() -> None:
    assert told({"train": {"patience": 3, "validation_share": 0.0}}, index_of("train")) == []


def test_captions_that_do_not_call_the_word_are_counted() -> None:
    word = {"lora": {"embedding_token": "<w>"}}
    assert told(word, index_of("train", "train", "held_out")) == [("word-seldom-called", "1")]


def test_a_word_that_no_caption_calls_is_refused() -> None:
    with pytest.raises(RecipeError, match="no caption calls the word <v>"):
        told({"lora": {"embedding_token": "<v>"}}, index_of("train", "train"))
