"""How long a person waits for the studio: first page, a thousand pictures, answers while a run trains.

    PYTHONPATH=tests python -m bench.bench_studio [--turns 3] [--work FOLDER]

A real studio and a real browser (Debian's Chromium, driven by Playwright), as in the tests; the
machine does nothing else. Writes ``bench/results/studio_HARDWARE_DATE.{json,md}`` and ends with status 1
where a target is missed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import heading, setting, write_results
from helpers.driving import end, kill_runs, veneer_ui, wait_for_address
from helpers.steps import says, tab
from veneer.records.dataset import Dataset, Item
from web.conftest import CHROMIUM, OPTIONS

NUM_PICTURES, SIDE_PX = 1000, 512
ALL_THERE = """(() => {
  const seen = [...document.querySelectorAll('#dataset-cards img')].filter(i => i.checkVisibility());
  return seen.length === 12 && seen.every(i => i.complete && i.naturalWidth);
})()"""
TARGETS = {
    "first page after the command": 5.0,
    "a thousand pictures, first look": 1.0,
    "their next page": 1.0,
    "next page while a run trains": 1.0,
    "table of runs while a run trains": 1.0,
}
"""Seconds; what "without a visible wait" means is our reading: as long as an answer may take."""


def write_thousand(folder: Path) -> None:
    """A data set of pictures that are no two alike."""
    (folder / "images").mkdir(parents=True)
    random, items = np.random.default_rng(0), []
    for number in range(NUM_PICTURES):
        items.append(Item(f"images/{number:06d}.png", f"picture {number}"))
        blocks = Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        blocks.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(folder / items[-1].file_name)
    Dataset(folder).write_metadata(items)


def seconds_of(work: Callable[[], object]) -> float:
    """Time one thing.

    Args:
        work: What to do.
    """
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _turn(browser: Any, workspace: Path, found: dict[str, list[float]]) -> None:
    """Start a studio, look at it, train, and look again."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    began = time.perf_counter()
    studio = veneer_ui(workspace, "--port", "0")

    def note(name: str, work: Callable[[], object]) -> None:
        found[name].append(seconds_of(work))

    def first_look() -> None:
        page.locator("#dataset-cards img").first.wait_for()
        _pictures_are_there(page, "000000.png")

    try:
        page.goto(wait_for_address(studio))
        page.wait_for_selector("#try-demo")
        found["first page after the command"].append(time.perf_counter() - began)
        note("a thousand pictures, first look", first_look)
        note("their next page", lambda: _next_page(page, "000012.png"))
        _start_demo(page)
        tab(page, "Data set")
        for number in range(2, 7):
            name = f"{12 * number:06d}.png"
            note("next page while a run trains", lambda name=name: _next_page(page, name))
        for _ in range(5):
            note("table of runs while a run trains", lambda: _table_of_runs(page))
            tab(page, "Data set")
    finally:
        page.close()
        end(studio)
        kill_runs(workspace)


def _next_page(page: Any, name: str) -> None:
    page.locator("#dataset-on").click()
    _pictures_are_there(page, name)


def _pictures_are_there(page: Any, name: str) -> None:
    page.locator("#card-0", has_text=name).wait_for()
    page.wait_for_function(ALL_THERE)


def _table_of_runs(page: Any) -> None:
    tab(page, "Runs")
    page.locator("#runs-table td").first.wait_for()


def _start_demo(page: Any) -> None:
    """The demo's run in one click; gone on when its training has a speed to show."""
    page.locator("#try-demo").click()
    tab(page, "Train")
    says(page, "train-status", "pictures/s", 300_000)


def _document(record: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {one['median']:.2f} | {one['worst']:.2f} | {one['n']} | {one['target']:.0f} |"
        for name, one in record["found"].items()
    ]
    return "\n".join(
        [
            *heading("How long a person waits for the studio", record, "gradio"),
            f"Seconds until the browser shows it. {NUM_PICTURES} pictures of {SIDE_PX} px, 12 a page; the "
            "first look makes the page's thumbnails. The run that trains is the demo's, on all cores.",
            "",
            "| | median | worst | n | at most |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the document.

    Args:
        arguments: Words of the command line; None for the program's own.

    Returns:
        Exit status.
    """
    import gradio
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/studio-bench"))
    asked = parser.parse_args(arguments)
    found: dict[str, list[float]] = {name: [] for name in TARGETS}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        for turn in range(asked.turns):
            workspace = asked.work / f"turn-{turn}"
            shutil.rmtree(workspace, ignore_errors=True)
            write_thousand(workspace / "datasets" / "thousand")
            _turn(browser, workspace.resolve(), found)
        browser.close()
    record = setting("make bench-studio") | {
        "gradio": gradio.__version__,
        "turns": asked.turns,
        "found": {
            name: {
                "median": statistics.median(seconds),
                "worst": max(seconds),
                "n": len(seconds),
                "target": TARGETS[name],
                "seconds": [round(one, 3) for one in seconds],
            }
            for name, seconds in found.items()
        },
    }
    text = _document(record)
    print(text)
    write_results("studio", record, text)
    return int(any(one["median"] > one["target"] for one in record["found"].values()))


if __name__ == "__main__":
    sys.exit(main())
