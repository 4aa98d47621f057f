"""Features of pictures, drawn at random: rows of unit length."""

from __future__ import annotations

import numpy as np


def rows(
    seed: int, n: int = 12, d: int = 8, towards: np.ndarray | None = None, pull: float = 0.0
) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    if towards is not None:
        x = x + pull * towards
    return x / np.linalg.norm(x, axis=1, keepdims=True)


PROMPTS = [f"prompt {i // 2}" for i in range(12)]
