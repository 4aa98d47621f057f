"""Embeddings are given out where batches are made: all of them in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from veneer.training.cachefile import CacheReader, write_tensors

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
    assert {text.device.type for text in texts} == {place}
    assert texts[0] is texts[2]
