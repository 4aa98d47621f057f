"""A real studio and a real browser, for as long as a test file runs."""

from __future__ import annotations

import importlib.util
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
START_SECONDS = 180


@dataclass
class Running:
    """A studio as a process."""

    process: subprocess.Popen[str]
    address: str
    workspace: Path
    seconds: float


def veneer_ui(workspace: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    """Start `veneer ui`."""
    env = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    command = [sys.executable, "-u", "-m", "veneer", "ui", "--workspace", str(workspace), *options]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_address(process: subprocess.Popen[str]) -> str:
    """Read the address that the studio prints."""
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    if not selector.select(START_SECONDS):
        process.kill()
        raise TimeoutError("the studio did not start")
    found = re.search(r"http\S+", process.stdout.readline())
    assert found, process.stderr.read()
    return found[0]


def end(process: subprocess.Popen[str]) -> None:
    """Ctrl-C."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.fixture(scope="session")
def with_gradio() -> None:
    """Skip where the extra `web` is not installed."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install -e '.[web]'")


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
    """A studio on an empty workspace but for one recipe of the tiny base."""
    from veneer.recipe import resolve, to_toml

    workspace = tmp_path_factory.mktemp("workspace")
    recipe = resolve(
        {
            "base": {"model": str(base_folder)},
            "caption": {"model": "none", "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "train": {
                "max_train_steps": 24,
                "checkpointing_steps": 8,
                "validation_steps": 8,
                "learning_rate": 1e-2,
            },
            "generate": {
                "prompts": ["a red dot"],
                "seeds": [0, 1],
                "num_inference_steps": 2,
                "resolution": 32,
            },
            "compare": {"embedder": str(clip_folder), "held_out_prompts": 1, "general_prompts": ["a dog"]},
        }
    )
    (workspace / "recipes").mkdir()
    (workspace / "recipes" / "tiny.toml").write_text(to_toml(recipe))
    began = time.monotonic()
    process = veneer_ui(workspace, "--port", "0")
    yield Running(process, wait_for_address(process), workspace, time.monotonic() - began)
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
        options = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page(browser: Any, studio: Running) -> Iterator[Any]:
    """The studio's page; ``page.elsewhere`` lists requests to other hosts, ``page.faults`` its errors."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(120_000)
    opened.elsewhere, opened.faults = [], []
    local = ("http://127.0.0.1:", "data:", "blob:")
    opened.on("request", lambda r: None if r.url.startswith(local) else opened.elsewhere.append(r.url))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.goto(studio.address)
    opened.wait_for_selector("#try-demo")
    yield opened
    opened.close()
