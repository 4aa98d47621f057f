"""Studios as processes, and pages of a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SOURCE = Path(__file__).parents[2] / "src"
START_SECONDS = 240
END_SECONDS = 120


@dataclass
class Running:
    """A studio as a process."""

    process: subprocess.Popen[str]
    address: str
    workspace: Path
    options: tuple[str, ...] = ("--port", "0")

    def restart(self) -> None:
        """Ctrl-C, and the same command again."""
        end(self.process)
        self.process = veneer_ui(self.workspace, *self.options)
        self.address = wait_for_address(self.process)


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
    # What it complains about goes to a file: a pipe that nobody reads would stop it once it is full.
    complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
    process = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=complaints)
    process.stderr = complaints
    return process


def complaints_of(process: subprocess.Popen[str]) -> str:
    """What a studio wrote to stderr so far."""
    process.stderr.seek(0)
    return process.stderr.read()


def wait_for_address(process: subprocess.Popen[str]) -> str:
    """Read the address that the studio prints."""
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    if not selector.select(START_SECONDS):
        process.kill()
        raise TimeoutError("the studio did not start")
    found = re.search(r"http\S+", process.stdout.readline())
    assert found, complaints_of(process)
    return found[0]


def end(process: subprocess.Popen[str]) -> None:
    """Ctrl-C; and no test is left waiting for one that does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def kill_runs(workspace: Path) -> None:
    """End what a test left at work: runs go on without their studio."""
    for path in (workspace / ".studio/jobs").glob("*/job.json"):
        job = json.loads(path.read_text())
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(job["pid"])
            if abs(process.create_time() - job["born"]) < 1:
                process.kill()


def tiny_recipe(base: Path, clip: Path, steps: int) -> str:
    """A recipe of the tiny base, as TOML."""
    from veneer.recipe import resolve, to_toml

    train = {"max_train_steps": steps, "learning_rate": 1e-2}
    often = {"checkpointing_steps": 8, "validation_steps": 8}
    seldom = {"checkpointing_steps": 100, "validation_steps": 1000}
    draw = {"prompts": ["a red dot"], "seeds": [0, 1], "num_inference_steps": 2, "resolution": 32}
    tables = {
        "base": {"model": str(base)},
        "collect": {"sources": ["datasets/dots"]},
        "caption": {"model": "none", "prefix": "a drawing of"},
        "encode": {"resolution": 32},
        "train": train | (often if steps < 100 else seldom),
        "generate": draw,
        "compare": {"embedder": str(clip), "held_out_prompts": 1, "general_prompts": ["a dog"]},
    }
    return to_toml(resolve(tables))


def open_page(browser: Any, address: str, **options: Any) -> Any:
    """A page in a window; ``.elsewhere`` lists its requests to other hosts, ``.faults`` its errors."""
    opened = browser.new_page(
        **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
    )
    opened.set_default_timeout(180_000)
    opened.elsewhere, opened.faults = [], []
    local = ("http://127.0.0.1:", "data:", "blob:")
    opened.on("request", lambda r: None if r.url.startswith(local) else opened.elsewhere.append(r.url))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("#try-demo")
    return opened
