"""Trackers are fed by events alone, on their local modes; what was sent is read back from their files."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from veneer.errors import RunError
from veneer.events import Event, Notice, PreviewEvent, StageFinished, StepEvent, ValidationEvent, ignore
from veneer.recipe import load_recipe
from veneer.records.run import RunDir
from veneer.tracking import Tracking

LOSSES = (0.5, 0.25)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run as far as trackers read it: recipe, a preview, and the verdict."""
    run = RunDir(tmp_path / "mine")
    run.report.mkdir(parents=True)
    run.write_recipe(load_recipe("pocket-8bit"))
    measures = {"style": {"base": 0.1, "tuned": 0.2, "delta": 0.1}, "prompt": None}
    metrics = {"verdict": "better", "reasons": ["it is"], "measures": measures}
    run.metrics_json.write_text(json.dumps(metrics))
    Image.new("RGB", (8, 8), "red").save(run.root / "preview.png")
    return run


def train(tracking: Callable[[Event], None], run: RunDir) -> None:
    for step, loss in enumerate(LOSSES, 1):
        tracking(StepEvent(step, loss, 1e-4, 2.0, 1.0, 3.0, 0.1))
    tracking(ValidationEvent(2, "ema", 0.125, best=True))
    tracking(PreviewEvent(2, run.root / "preview.png"))
    tracking(StageFinished("train", "2 steps", 4.0))


def test_tensorboard_reads_back_what_happened(run: RunDir) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Tracking(["tensorboard"], run, ignore) as tracking:
        train(tracking, run)
    found: Any = module.EventAccumulator(str(run.tracking / "tensorboard"))
    found.Reload()
    assert [one.value for one in found.Scalars("train/loss")] == list(LOSSES)
    assert [(one.step, one.value) for one in found.Scalars("validation/ema")] == [(2, 0.125)]
    assert found.Scalars("change/style")[0].value == pytest.approx(0.1)
    assert found.Images("preview")[0].step == 2
    assert "verdict/text_summary" in found.Tags()["tensors"]


def in_a_process(name: str, run: RunDir, **environment: str) -> str:
    """Follow a run in a process of its own: these trackers keep folders for as long as one lives."""
    code = f"""
        import runpy, sys
        from veneer.events import ignore
        from veneer.records.run import RunDir
        from veneer.tracking import Tracking
        test = runpy.run_path({str(Path(__file__))!r})
        run = RunDir({str(run.root)!r})
        with Tracking([{name!r}], run, ignore) as tracking:
            test["train"](tracking, run)
    """
    import os
    import textwrap

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "WANDB_SILENT": "true", **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_trackio_keeps_what_happened_in_its_own_data_base(run: RunDir, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    assert in_a_process("trackio", run, TRACKIO_DIR=str(tmp_path / "trackio")) == ""
    (data_base,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(data_base) as connection:
        rows = [json.loads(row[0]) for row in connection.execute("select metrics from metrics order by id")]
    assert [row["train/loss"] for row in rows if "train/loss" in row] == list(LOSSES)
    assert any(row.get("validation/ema") == 0.125 for row in rows)
    assert rows[-1]["verdict"] == "better"


@pytest.mark.heavy  # its service takes seconds to start
def test_wandb_writes_an_offline_run_and_sends_nothing(run: RunDir) -> None:
    pytest.importorskip("wandb")
    unreachable = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    assert in_a_process("wandb", run, **unreachable) == ""
    (offline,) = (run.tracking / "wandb").glob("offline-run-*")
    (record,) = offline.glob("*.wandb")
    written = record.read_bytes()
    assert all(word in written for word in (b"train/loss", b"validation/ema", b"verdict", b"preview"))


def test_a_tracker_that_is_not_installed_is_told_before_anything_runs(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer.tracking.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"wandb not installed .*veneer\[track\]"):
        Tracking(["wandb"], run, ignore).__enter__()


def test_without_numbers_nothing_is_opened_and_events_pass(run: RunDir) -> None:
    heard: list[Event] = []
    with Tracking(["tensorboard"], run, heard.append) as tracking:
        tracking(StageFinished("train", "2 steps", skipped=True))
    assert len(heard) == 1 and not run.tracking.exists()


def test_one_process_of_several_writes(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with Tracking(["tensorboard"], run, ignore) as tracking:
        train(tracking, run)
    assert not run.tracking.exists()


def test_where_the_numbers_are_is_said_once(run: RunDir) -> None:
    pytest.importorskip("tensorboard")
    heard: list[Event] = []
    with Tracking(["tensorboard"], run, heard.append) as tracking:
        train(tracking, run)
    (notice,) = [event for event in heard if isinstance(event, Notice)]
    assert str(run.tracking) in notice.message and notice.is_passing
