"""How well captions fit their pictures, seen by a CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from veneer.data.picture import load_picture
from veneer.models.embedder import Embedder

CHUNK = 128
"""Pictures held against each other's captions at a time."""

MIN_OTHERS = 8
"""Fewest other captions that say anything about chance."""


def low_agreement(embedder: Embedder, root: Path, pairs: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Find pictures whose caption fits other pictures at least as well as their own.

    The level of a cosine similarity means little by itself: it differs between models and styles. So each
    caption is held against the others' pictures, and is low where half of them fit it better.

    Args:
        embedder: A CLIP.
        root: The data-set folder.
        pairs: File names and captions.

    Returns:
        File names of low agreement; none where there are too few to compare.
    """
    low: set[str] = set()
    for start in range(0, len(pairs), CHUNK):
        chunk = pairs[start : start + CHUNK]
        texts = embedder.text_features([text for _, text in chunk])
        if len(chunk) <= MIN_OTHERS or texts is None:
            continue
        pictures = embedder.image_features([load_picture(root / name) for name, _ in chunk])
        similarity = pictures @ texts.T
        own = np.diag(similarity)
        better = (similarity > own[None, :]).mean(axis=0)
        low |= {name for (name, _), share in zip(chunk, better, strict=True) if share > 0.5}
    return frozenset(low)
