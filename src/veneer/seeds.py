"""Randomness as a function of (seed, purpose, step, item), never of a generator's history.

So a resumed run needs no generator state, and two processes draw what one would. Generators are always
on the CPU: the same numbers come out whatever the device.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, purpose: str, step: int = 0, item: int | str = 0) -> int:
    """Seed of one draw.

    Args:
        purpose: What the draw is for, such as "noise" or "timestep".

    Returns:
        A number in [0, 2**63), equal for equal arguments on every machine.
    """
    text = f"{seed}\x1f{purpose}\x1f{step}\x1f{item}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def torch_generator(seed: int, purpose: str, step: int = 0, item: int | str = 0) -> torch.Generator:
    """Torch generator on the CPU for one draw.

    Args:
        purpose: What the draw is for.

    Returns:
        A fresh generator seeded by `derive`.
    """
    return torch.Generator("cpu").manual_seed(derive(seed, purpose, step, item))


def numpy_generator(seed: int, purpose: str, step: int = 0, item: int | str = 0) -> np.random.Generator:
    """Numpy generator for one draw.

    Args:
        purpose: What the draw is for.

    Returns:
        A fresh generator seeded by `derive`.
    """
    return np.random.default_rng(derive(seed, purpose, step, item))
