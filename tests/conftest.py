"""Fixtures that several test files share: tiny models, built once a session, never to be written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# No test may touch the network: a look-up that slips through fails at once instead of waiting.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Stable Diffusion 1.x (`tiny.tiny_base`)."""
    import tiny

    return tiny.tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of 64 px (`tiny.tiny_pictures`)."""
    import tiny

    return tiny.tiny_pictures(tmp_path_factory.mktemp("pictures"), 12)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP (`tiny.tiny_clip`)."""
    import tiny

    return tiny.tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BLIP (`tiny.tiny_blip`)."""
    import tiny

    return tiny.tiny_blip(tmp_path_factory.mktemp("blip"))
