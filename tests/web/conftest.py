"""A real studio and a real browser, for as long as a test file runs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.driving import end, veneer_ui

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@pytest.fixture
def start_studio(with_gradio: None) -> Iterator[Any]:
    """Start studios that end with the test."""
    started = []

    def start(workspace: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
        started.append(veneer_ui(workspace, *options, **variables))
        return started[-1]

    yield start
    for process in started:
        end(process)


@pytest.fixture(scope="module")
def browser(with_gradio: None) -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS, timeout=240_000)
        yield chromium
        chromium.close()
