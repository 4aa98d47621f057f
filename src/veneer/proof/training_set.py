"""What the training pictures and their captions are like: noise or not, with the style's word or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from veneer.proof.pairs import grey_values

SMALL_WORDS = frozenset({"a", "an", "the", "of", "in", "on", "with", "and", "at", "to", "is"})


def smoothness(pixels: np.ndarray[Any, Any]) -> float:
    """How much a pixel tells of its neighbour: 1 for a flat picture, about 0 for noise.

    Args:
        pixels: Grey values, shape (H, W), of any range.

    Returns:
        Correlation of neighbouring pixels, in [-1, 1].
    """
    grey = np.asarray(pixels, float)
    grey = grey - grey.mean()
    power = float((grey**2).mean())
    if power == 0:
        return 1.0
    return float(((grey[:, 1:] * grey[:, :-1]).mean() + (grey[1:] * grey[:-1]).mean()) / 2 / power)


def mean_smoothness(training: Sequence[Path]) -> float | None:
    """How much a pixel of the training pictures tells of its neighbour.

    Returns:
        Mean correlation of neighbouring pixels, in [-1, 1]; None without pictures.
    """
    if not training:
        return None
    return float(np.mean([smoothness(grey_values(path)) for path in training]))


def style_word_share(prompts: Sequence[str], captions: Sequence[str]) -> float | None:
    """How many captions have a word that every prompt has: the words that should call the style.

    Args:
        prompts: The recipe's prompts.
        captions: Captions of the training pictures.

    Returns:
        A share in [0, 1]; None with fewer than two different prompts, or no caption.
    """
    if len(set(prompts)) < 2 or not captions:
        return None
    shared = set.intersection(*(_words(prompt) for prompt in prompts))
    return float(np.mean([bool(shared & _words(caption)) for caption in captions]))


def _words(text: str) -> set[str]:
    return set(text.lower().replace(",", " ").split()) - SMALL_WORDS
