"""Embeddings are given out where batches are made: all of them in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.indexes import cache_index, cached_item
from veneer.records.cache import CachedItem, CacheReader, Split, write_tensors

NAMES = ("text/a.safetensors", "text/b.safetensors")
BYTES = 2 * 7 * 6 * 4


@pytest.fixture
def reader(tmp_path: Path) -> CacheReader:
    for name in NAMES:
        write_tensors(tmp_path / name, {"encoder_hidden_states": torch.ones(7, 6)})
    return CacheReader(tmp_path)


@pytest.mark.parametrize(("room", "place"), [(BYTES - 1, "cpu"), (BYTES, "meta")])
def test_all_embeddings_are_on_the_device_or_none(reader: CacheReader, room: int, place: str) -> None:
    assert reader.keep_texts_on(torch.device("meta"), NAMES, room) == (place == "meta")
    texts = [reader.text(name) for name in (*NAMES, NAMES[0])]
    assert {tensor.device.type for text in texts for tensor in text.values()} == {place}
    assert texts[0] is texts[2]


def test_an_index_knows_its_shapes_and_embeddings() -> None:
    def item(split: Split, side: int, text: str, prior: str = "") -> CachedItem:
        return cached_item(split=split, bucket=(side, side), text=text, prior_text=prior)

    index = cache_index([item("train", 64, "t1", "p1"), item("held_out", 96, "t2"), item("prior", 80, "t3")])
    assert index.shapes == {(64, 64), (80, 80)}
    assert index.texts == {"empty", "t1", "t2", "t3", "p1"}
