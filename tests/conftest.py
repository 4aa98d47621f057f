"""Fixtures that several test files share: tiny models, built once a session, never to be written to."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# No test may touch the network: a look-up that slips through fails at once instead of waiting.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that names hub models begins, as with a network; what fetches from it fails as before."""
    monkeypatch.setattr("veneer.preflight.hub_answers", lambda: True)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Stable Diffusion 1.x (`tiny.tiny_base`)."""
    from helpers import tiny

    return tiny.tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Stable Diffusion XL (`tiny.tiny_sdxl`)."""
    from helpers import tiny

    return tiny.tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of 64 px (`tiny.tiny_pictures`)."""
    from helpers import tiny

    return tiny.tiny_pictures(tmp_path_factory.mktemp("pictures"), 12)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP (`tiny.tiny_clip`)."""
    from helpers import tiny

    return tiny.tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BLIP (`tiny.tiny_blip`)."""
    from helpers import tiny

    return tiny.tiny_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="session")
def with_gradio() -> None:
    """Skip where the extra `web` is not installed."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install -e '.[web]'")
