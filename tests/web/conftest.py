"""A real studio and a real browser, shared by the scenes: both take seconds to start."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.driving import Running, end, kill_runs, open_page, tiny_recipe, veneer_ui, wait_for_address
from helpers.proofrun import make_run
from helpers.tiny import tiny_pictures
from veneer.recipe import load_recipe
from veneer.records.dataset import Dataset, Item
from veneer.records.jsonlines import append_lines

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LEFT_OUT = {"broken.png": "not a picture", "http://127.0.0.1:9/x.png": "127.0.0.1 is not a public address"}
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
    """Debian's Chromium, driven by Playwright, whose event loop would be in the way of other files' own."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS, timeout=240_000)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def running(
    with_gradio: None, base_folder: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A studio; what its workspace holds is each scene's own."""
    workspace = tmp_path_factory.mktemp("workspace")
    options = ("--port", "0", "--allow", str(base_folder), "--allow", str(clip_folder))
    process = veneer_ui(workspace, *options)
    started = Running(process, wait_for_address(process), workspace, options)
    yield started
    end(started.process)


@pytest.fixture
def studio(
    running: Running, base_folder: Path, clip_folder: Path, request: pytest.FixtureRequest
) -> Iterator[Running]:
    """The studio on a workspace with two recipes of the tiny base: a short one, and one without end.

    After a scene that failed it is started anew, as nobody knows what it was left at.
    """
    for folder in ("datasets", "recipes", "runs"):
        shutil.rmtree(running.workspace / folder, ignore_errors=True)
        (running.workspace / folder).mkdir()
    shutil.rmtree(running.workspace / ".studio" / "jobs", ignore_errors=True)
    for name, steps in (("tiny", 24), ("long", 1_000_000)):
        text = tiny_recipe(base_folder, clip_folder, steps)
        (running.workspace / "recipes" / f"{name}.toml").write_text(text)
    failed = request.session.testsfailed
    yield running
    kill_runs(running.workspace)
    if request.session.testsfailed > failed:
        running.process.kill()  # whatever it is at
        running.restart()


@pytest.fixture
def dots(studio: Running, tmp_path: Path) -> Path:
    """Thirteen pictures with captions; two more were left out when they were collected."""
    dataset = Dataset(studio.workspace / "datasets" / "dots")
    dataset.images.mkdir(parents=True)
    items = []
    for number, path in enumerate(sorted(tiny_pictures(tmp_path / "dots", 13).iterdir()), start=1):
        items.append(Item(f"images/{number:06d}.png", f"a blue dot, number {number}"))
        shutil.copy(path, dataset.root / items[-1].file_name)
    dataset.write_metadata(items)
    taken = [{"file_name": item.file_name, "origin": "dropped", "size": (64, 64)} for item in items]
    append_lines(dataset.provenance_jsonl, taken)
    refused = [{"file": "", "origin": o, "stage": "collect", "reason": why} for o, why in LEFT_OUT.items()]
    append_lines(dataset.rejected / "reasons.jsonl", refused)
    return dataset.root


@pytest.fixture
def two_runs(dots: Path, studio: Running, base_folder: Path) -> None:
    """Two runs that were trained, by the two recipes, and have drawn nothing yet."""
    for name, recipe in (("first", "tiny"), ("second", "long")):
        run = make_run(studio.workspace / "runs" / name, base_folder, dots / "images")
        run.write_recipe(load_recipe(str(studio.workspace / "recipes" / f"{recipe}.toml")))


@pytest.fixture
def page(browser: Any, studio: Running) -> Iterator[Any]:
    """The studio's page, opened by a test once its workspace is laid down."""
    opened = open_page(browser, studio.address)
    yield opened
    opened.close()
    assert opened.faults == []
    assert opened.elsewhere == []
