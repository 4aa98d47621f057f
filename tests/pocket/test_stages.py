"""All stages at a size of a few pixels, side by side; they wait, and the first that fails ends all."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import pocketsets
from helpers.pocketsets import TINY
from pocket import stages, waiting
from pocket.__main__ import plan, share_seconds
from pocket.config import CPU, GPU, TRAININGS, Size
from pocket.draw import draw_variant, load_pictures, pictures_file
from pocket.processes import start_process
from pocket.sources import RecipeError, StoppedError, source_named
from pocket.stages import ALL, PRELOADED, Job, run_beside, run_in_turn, run_side_by_side
from pocket.subjects import load_subjects
from pocket.waiting import forget_marks, mark_done, wait_for

MADE = ("draw", "tokenizer", "tokens", "clip", "vae", "latents", "layout", "unet", "decoder", "captioner")


def test_all_stages_make_a_base_side_by_side_and_go_on_where_they_were_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pocketsets.work_in(tmp_path, monkeypatch)
    pocketsets.write_sets(num_subjects=6)
    jobs = [Job(stage, num_steps=2) for stage in (*MADE, "demo", "export", "sheet")]
    run_side_by_side(jobs, TINY)
    folder = tmp_path / "work" / "tiny"
    assert {mark.name for mark in (folder / "done").iterdir()} == set(stages.FUNCTIONS)
    spent = json.loads((tmp_path / "base" / "trained.json").read_text())
    assert {stage: done["steps"] for stage, done in spent.items()} == dict.fromkeys(set(MADE) & set(spent), 2)
    assert set(spent) == {"clip", "vae", "layout", "unet", "decoder", "captioner"}
    with Image.open(folder / "sheet.png") as sheet:
        assert np.ptp(np.asarray(sheet)) > 100
    check_pictures()

    before = torch.load(folder / "unet" / "checkpoint.pt")["model"]
    run_in_turn([Job("unet", num_steps=3)], TINY)  # one by one, from the files that the others left
    after = torch.load(folder / "unet" / "checkpoint.pt")
    assert after["step"] == 3 and not all(torch.equal(before[name], after["model"][name]) for name in before)


def check_pictures() -> None:
    """Pictures drawn by several processes are those that their lines tell."""
    pixels, pictures = np.load(pictures_file(TINY)), load_pictures(TINY)
    subjects = {subject.name: subject for subject in load_subjects()}
    assert len(pixels) == len(pictures) == 2 * (5 * 6 + 2 * 60)
    assert [picture.index for picture in pictures] == list(range(len(pictures)))
    for picture in pictures[::37]:
        pair = subjects[picture.subject], source_named(picture.source)
        assert np.array_equal(pixels[picture.index], draw_variant(*pair, picture.index % 2, TINY.picture_px))


def test_the_first_stage_that_fails_is_named_and_ends_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pocketsets.work_in(tmp_path, monkeypatch)  # nothing was fetched, so nothing can be drawn
    jobs = [Job(stage, num_steps=2) for stage in (*MADE, "export")]
    began = time.monotonic()
    with pytest.raises(RecipeError, match=r"draw failed \(status 1\) and the others were stopped"):
        run_side_by_side(jobs, TINY)
    assert time.monotonic() - began < 60
    assert not (tmp_path / "work" / "tiny" / "done" / "vae").exists()


def test_a_stage_beside_others_says_what_is_wrong_and_leaves_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pocketsets.work_in(tmp_path, monkeypatch)
    waits = replace(TINY, waits=True)
    forget_marks(waits)
    mark_done(waits, "fetch")
    with pytest.raises(SystemExit):
        run_beside(Job("draw"), waits)
    assert re.match(r"pocket: draw: .*python -m pocket fetch", capsys.readouterr().err)
    assert [mark.name for mark in waiting.marks_folder(waits).iterdir()] == ["fetch"]


def test_one_by_one_a_stopped_training_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(job: Job, size: Size) -> None:
        ran.append(job.stage)
        if job.stage == "clip":
            raise StoppedError("asked to stop at step 4")

    ran: list[str] = []
    monkeypatch.setattr(Job, "run", run)
    run_in_turn([Job("clip"), Job("vae")], TINY)
    assert ran == ["clip", "vae"] and "clip: asked to stop at step 4" in capsys.readouterr().out


def test_side_by_side_a_stopped_training_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(job: Job, size: Size) -> None:
        raise StoppedError("asked to stop at step 4")

    pocketsets.work_in(tmp_path, monkeypatch)
    forget_marks(TINY)
    monkeypatch.setattr(Job, "run", run)
    with pytest.raises(SystemExit):
        run_beside(Job("clip"), TINY)
    assert not list(waiting.marks_folder(TINY).iterdir())
    assert "pocket: clip: asked to stop at step 4" in capsys.readouterr().err


def test_a_stage_that_is_killed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pocketsets.work_in(tmp_path, monkeypatch)
    works: dict[str, Any] = {"draw": os.getpid, "clip": kill_itself}
    done, killed = (start_process(name, work, (), PRELOADED) for name, work in works.items())
    with pytest.raises(RecipeError, match=r"clip failed \(status -9\)"):
        stages._watch([done, killed])


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_waiting_ends_when_the_mark_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pocketsets.work_in(tmp_path, monkeypatch)
    waits = replace(TINY, waits=True)
    forget_marks(waits)
    mark_done(waits, "vae")
    looks = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            mark_done(waits, "clip")

    monkeypatch.setattr(time, "sleep", look)
    wait_for(waits, "vae", "clip")
    assert len(looks) == 3
    forget_marks(waits)
    wait_for(TINY, "vae")  # one by one there is nothing to wait for


def test_who_waits_for_the_dead_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def is_alive(self) -> bool:
            return False

    pocketsets.work_in(tmp_path, monkeypatch)
    monkeypatch.setattr(multiprocessing, "parent_process", Gone)
    with pytest.raises(RecipeError, match="waited for vae, but who started them is gone"):
        wait_for(replace(TINY, waits=True), "vae")


def asked(commands: str, seconds: float | None = None, steps: int | None = None) -> argparse.Namespace:
    return argparse.Namespace(commands=commands.split(), seconds=seconds, steps=steps, decay=0)


def test_all_on_a_gpu_is_what_has_a_budget_and_in_the_order_of_the_recipe() -> None:
    jobs = plan(asked("all"), GPU)
    assert {job.stage: job.seconds for job in jobs if job.stage in TRAININGS} == dict(GPU.seconds)
    assert [job.stage for job in jobs] == [s for s in ALL if s not in ("vision", "judge")]
    assert sum(GPU.seconds[stage] for stage in ("vae", "layout", "unet", "decoder")) < 400


def test_all_on_a_cpu_trains_everything_until_stopped() -> None:
    jobs = plan(asked("all"), CPU)
    assert [job.stage for job in jobs] == list(ALL) and {job.seconds for job in jobs} == {None}
    assert {job.num_steps for job in plan(asked("all", steps=5), CPU)} == {5}


def test_commands_run_in_the_order_of_the_recipe() -> None:
    assert [job.stage for job in plan(asked("unet draw clip"), GPU)] == ["draw", "clip", "unet"]


def test_seconds_are_shared_by_budget_or_given_to_each() -> None:
    assert share_seconds(60.0, {"unet": 200, "vae": 100, "draw": None}) == {"unet": 40, "vae": 20, "draw": 60}
    assert share_seconds(60.0, {"unet": None, "vae": None}) == {"unet": 60, "vae": 60}
    assert plan(asked("unet", seconds=7.0), GPU)[0].seconds == 7


def test_every_command_has_its_function() -> None:
    from importlib import import_module

    for stage, place in stages.FUNCTIONS.items():
        module, name = place.split(":")
        assert callable(getattr(import_module(f"pocket.{module}"), name)), stage
