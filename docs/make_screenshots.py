"""Take the studio's screenshots: docs/studio-*.png, or every tab at two widths in light and dark.

python docs/make_screenshots.py                       (runs the demo in a new workspace first: minutes)
python docs/make_screenshots.py --workspace DIR       (a workspace that has finished runs)
python docs/make_screenshots.py --workspace DIR --all OUT    (each tab, 1280 and 390 px wide, to look at)

Needs the extras `web` and `dev`, and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
TABS = {"data": "Data set", "recipe": "Recipe", "train": "Train", "compare": "Compare", "runs": "Runs"}
SHOWS = {
    "data": "#dataset-cards img",
    "recipe": "#field-base-model",
    "train": "#train-charts svg",
    "compare": "#compare-beside img",
    "runs": "#runs-table tbody tr",
}
"""What stands on a tab once it is filled."""
MINUTE = 60_000


def main() -> None:
    """Read the options and take the pictures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--workspace", type=Path)
    options.add_argument("--all", type=Path, metavar="OUT")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        workspace = asked.workspace or Path(scratch) / "studio"
        if asked.workspace is None:
            prepare(workspace)
        with studio(workspace) as address, browser() as chromium:
            if asked.all is not None:
                take_all(chromium, address, asked.all)
            else:
                take_docs(chromium, address)


def prepare(workspace: Path) -> None:
    """Run the demo, and collect the demo's pictures into a data set.

    Args:
        workspace: A new workspace.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    for words in (
        ["run", "pocket-8bit", "--out", "runs/pocket-8bit"],
        ["collect", "pocket", "--out", "datasets/8bit"],
        ["caption", "datasets/8bit", "--model", "pocket", "--prefix", "8-bit illustration of"],
    ):
        done = subprocess.run([sys.executable, "-m", "veneer", *words], cwd=workspace, check=False)
        if done.returncode not in {0, 4}:  # 4: the verdict is "worse", which can be shown too
            raise SystemExit(f"veneer {' '.join(words)} ended with {done.returncode}")


@contextlib.contextmanager
def studio(workspace: Path) -> Iterator[str]:
    """A studio, for as long as the block lasts.

    Args:
        workspace: Its workspace.

    Yields:
        Its address.
    """
    command = [sys.executable, "-m", "veneer", "ui", "--workspace", str(workspace), "--port", "0"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        found = re.search(r"http\S+", process.stdout.readline())
        if found is None:
            raise SystemExit("the studio did not start")
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window.

    Yields:
        Playwright's browser.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=options, timeout=3 * MINUTE)
        yield chromium
        chromium.close()


def open_page(chromium: Any, address: str, width: int, height: int, scheme: str) -> Any:
    """The studio's page in a window.

    Args:
        chromium: The browser.
        address: The studio's.
        width: Width of the window in pixels.
        height: Its height.
        scheme: "light" or "dark".

    Returns:
        Playwright's page.
    """
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(3 * MINUTE)
    page.goto(address)
    page.locator("#try-demo").wait_for()
    return page


def show(page: Any, name: str) -> None:
    """Open a tab and wait until it is filled.

    Args:
        page: The page.
        name: A key of `TABS`.
    """
    page.get_by_role("tab", name=TABS[name], exact=True).click()
    with contextlib.suppress(Exception):  # a tab may have nothing to show in this workspace
        page.locator(SHOWS[name]).first.wait_for(timeout=20_000)
    page.mouse.move(0, 0)
    page.wait_for_timeout(700)


def take_all(chromium: Any, address: str, out: Path) -> None:
    """Every tab at phone and desktop width, light and dark, as OUT/TAB-WIDTH-SCHEME.png.

    Args:
        chromium: The browser.
        address: The studio's.
        out: Folder of the pictures.
    """
    out.mkdir(parents=True, exist_ok=True)
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            page = open_page(chromium, address, width, 900, scheme)
            for name in TABS:
                show(page, name)
                page.screenshot(path=out / f"{name}-{width}-{scheme}.png", full_page=True)
            page.context.close()


def take_docs(chromium: Any, address: str) -> None:
    """The screenshots of docs/studio.md.

    Args:
        chromium: The browser.
        address: The studio's.
    """
    for name, width, height, scheme in (
        ("data", 1280, 1180, "light"),
        ("train", 1280, 1000, "light"),
        ("compare", 1280, 960, "light"),
        ("compare", 390, 1080, "dark"),
    ):
        page = open_page(chromium, address, width, height, scheme)
        show(page, name)
        page.screenshot(path=DOCS / f"studio-{'phone' if width == 390 else name}.png")
        page.context.close()


if __name__ == "__main__":
    main()
