"""A cache's index for tests that need a few of its values: every other one is filled in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from veneer.records.cache import CachedItem, CacheIndex

_ITEM = {
    "file_name": "a.png",
    "caption": "a",
    "sha256": "",
    "split": "train",
    "bucket": (64, 64),
    "latents": "a",
    "text": "t",
    "tokens": 3,
    "truncated": False,
}
_INDEX = {
    "base": "b",
    "vae_factor": 8,
    "native_px": 64,
    "prediction_type": "epsilon",
    "empty_caption": "empty",
    "crops": 1,
    "mirrored": False,
}


def cached_item(**values: Any) -> CachedItem:
    return CachedItem(**(_ITEM | values))


def cache_index(items: Iterable[CachedItem], **values: Any) -> CacheIndex:
    return CacheIndex(**(_INDEX | values), items=tuple(items))
