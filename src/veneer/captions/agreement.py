"""How well captions fit their pictures, seen by a CLIP."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from veneer.data.picture import load_all_small
from veneer.models.embedder import Embedder

_CHUNK = 128
"""Pictures held against each other's captions at a time."""

_LONGEST_SIDE_PX = 512
"""Pictures are held in memory no larger than this; CLIP looks at 224 or 336 pixels."""

MIN_OTHERS = 8
"""Fewest other captions that say anything about chance."""


def low_agreement(
    embedder: Embedder,
    root: Path,
    pairs: Sequence[tuple[str, str]],
    only: Collection[str] | None = None,
) -> frozenset[str]:
    """Find pictures whose caption fits other pictures at least as well as their own.

    The level of a cosine similarity means little by itself: it differs between models and styles. So each
    caption is held against the others' pictures, and is low where half of them fit it better.

    Args:
        embedder: A CLIP.
        pairs: File names and captions.
        only: File names that are looked at, against the others all the same; None for all.

    Returns:
        File names of low agreement; none where there are too few to compare.
    """
    low: set[str] = set()
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        if only is not None and not any(name in only for name, _ in chunk):
            continue
        there, loaded = load_all_small(root, [name for name, _ in chunk], _LONGEST_SIDE_PX)
        chunk = [pair for pair in chunk if pair[0] in there]
        texts = embedder.text_features([text for _, text in chunk]) if chunk else None
        if len(chunk) <= MIN_OTHERS or texts is None:
            continue
        pictures = embedder.image_features(loaded)
        similarity = pictures @ texts.T
        own = np.diag(similarity)
        better = (similarity > own[None, :]).mean(axis=0)
        low |= {name for (name, _), share in zip(chunk, better, strict=True) if share > 0.5}
    return frozenset(low) if only is None else frozenset(low.intersection(only))
