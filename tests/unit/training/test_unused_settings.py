"""Settings that do not act are told of, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.indexes import cache_index, cached_item
from veneer.events import Notice
from veneer.recipe import resolve
from veneer.records.cache import CacheIndex, Split
from veneer.training.unused_settings import tell_idle_settings


def index_of(*splits: Split) -> CacheIndex:
    items = tuple(
        cached_item(file_name=f"{n}.png", caption="<w>, a cat" if n else "a cat", split=split)
        for n, split in enumerate(splits)
    )
    return cache_index(items)


def told(tables: dict[str, dict[str, Any]], index: CacheIndex | None = None) -> list[tuple[str, str]]:
    events: list[Any] = []
    tell_idle_settings(resolve(tables), index or index_of("train", "train", "held_out"), events.append)
    return [(event.code, event.message.split(" ")[0]) for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        (
            {"lora": {"target_modules": "none", "text_encoder": True, "timestep_rank": True}},
            "lora.timestep_rank",
        ),
        ({"lora": {"target_modules": "none", "rank": 8}}, "lora.rank"),
        ({"lora": {"embedding_vectors": 2}}, "lora.embedding_vectors"),
        ({"train": {"snr_gamma": 1.0}}, "train.snr_gamma"),
        ({"train": {"lr_scheduler": "constant", "lr_warmup_steps": 5}}, "train.lr_warmup_steps"),
        ({"train": {"prior_sources": ["x"]}}, "train.prior_sources"),
        (
            {"train": {"prior_loss_weight": 1.0}, "lora": {"target_modules": "none"}},
            "train.prior_loss_weight",
        ),
    ],
)
def test_a_setting_that_does_not_act_is_told_of(tables: dict[str, dict[str, Any]], key: str) -> None:
    assert told(tables) == [("setting-idle", key)]


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"lora": {"target_modules": "none", "text_encoder": True, "rank": 8}},
        {"lora": {"embedding_token": "cat", "embedding_vectors": 2}},
        {"train": {"snr_gamma": 1.0, "loss_weighting": "soft_min_snr"}},
        {"train": {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 5, "patience": 2}},
        {"train": {"prior_sources": ["x"], "prior_loss_weight": 0.5}},
    ],
)
def test_settings_that_act_are_not(tables: dict[str, dict[str, Any]]) -> None:
    assert told(tables) == []


def test_patience_needs_held_out_pictures() -> None:
    assert told({"train": {"patience": 3}}, index_of("train")) == [("setting-idle", "train.patience")]


def test_captions_that_do_not_call_the_word_are_counted() -> None:
    assert told({"lora": {"embedding_token": "<w>"}}) == [("word-seldom-called", "1")]
