"""A real studio and a real browser, for as long as a test file runs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.driving import Running, end, kill_runs, open_page, tiny_recipe, veneer_ui, wait_for_address

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
def studio(
    with_gradio: None, base_folder: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A studio on a workspace with two recipes of the tiny base: a short one, and one without end."""
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "recipes").mkdir()
    for name, steps in (("tiny", 24), ("long", 1_000_000)):
        text = tiny_recipe(base_folder, clip_folder, steps)
        (workspace / "recipes" / f"{name}.toml").write_text(text)
    options = ("--port", "0", "--allow", str(base_folder), "--allow", str(clip_folder))
    process = veneer_ui(workspace, *options)
    running = Running(process, wait_for_address(process), workspace, options)
    yield running
    kill_runs(workspace)
    end(running.process)


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


@pytest.fixture(scope="module")
def page(browser: Any, studio: Running) -> Iterator[Any]:
    """The studio's page."""
    opened = open_page(browser, studio.address)
    yield opened
    opened.close()
