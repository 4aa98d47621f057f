"""From a data set to a downloaded LoRA, and runs kept in order, in a real browser, scene by scene.

Every scene lays its workspace down by files and stands on none before it.
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.driving import Running
from helpers.steps import NAMELESS, SLOW, choose, count, eventually, says, says_any, tab, unfold, value, write
from veneer.recipe import load_recipe

pytestmark = pytest.mark.timeout(3000)  # a busy machine takes minutes


def test_a_run_ends_with_a_lora(dots: Path, page: Any, studio: Running, tmp_path: Path) -> None:
    a_run_survives_a_reload_and_ends_with_curves(page, studio)
    the_lora_is_compared_drawn_and_downloaded(page, studio, tmp_path)


def a_run_survives_a_reload_and_ends_with_curves(page: Any, studio: Running) -> None:
    start(page, "tiny", "first")
    says(page, "train-message", "veneer run recipes/tiny.toml --out runs/first")
    says_any(page, "train-status", "first running", "first done")
    eventually((studio.workspace / "runs/first/train/log.jsonl").is_file, 1200)
    page.reload()
    tab(page, "Train")
    says(page, "train-status", "first")
    page.locator("#train-charts svg").first.wait_for(timeout=SLOW)
    says(page, "train-status", "Done.", SLOW)
    count(page, "#train-charts svg[role=img]", 4)


def the_lora_is_compared_drawn_and_downloaded(page: Any, studio: Running, tmp_path: Path) -> None:
    tab(page, "Compare")
    page.locator("#compare-verdict table").first.wait_for()
    says(page, "compare-verdict", "<lora:first:")
    eventually(lambda: value(page, "compare-prompts") == "a red dot")
    page.locator("#compare-beside input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.locator("#compare-beside .v-slider[style*='53%']").wait_for()
    write(page, "compare-prompts", "a blue square")
    write(page, "compare-seeds", "7")
    page.locator("#compare-draw").click()
    says(page, "compare-drawn", "veneer generate", SLOW)
    says(page, "compare-beside", "a blue square")
    unfold(page, "Checkpoints, strengths")
    write(page, "compare-strengths", "0.5, 1")
    page.locator("#compare-grid").click()
    says(page, "compare-table", "The grid is drawn", SLOW)
    steps = len(list((studio.workspace / "runs/first/train/checkpoints").glob("step-*/adapter.safetensors")))
    count(page, "#compare-table img", 1 + 2 * min(4, steps))
    unfold(page, "Report")
    page.locator("#compare-show").click()
    report = page.frame_locator("#compare-report iframe")
    report.locator("#cut").focus()
    page.keyboard.press("ArrowRight")
    report.locator("#stage[style*='51%']").wait_for()
    folder = studio.workspace / "runs/first/lora"
    for number, path in enumerate(
        (folder / "pytorch_lora_weights.safetensors", *folder.glob("kohya/*.safetensors"))
    ):
        with page.expect_download() as download:
            page.locator(f"#compare-file-{number}").click()
        download.value.save_as(tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
        _loads_in_plain_diffusers(tmp_path / path.name, studio.workspace / "recipes" / "tiny.toml")
    a_blind_vote_is_given_by_a_key(page, studio)


def a_blind_vote_is_given_by_a_key(page: Any, studio: Running) -> None:
    unfold(page, "A blind vote")
    page.locator("#compare-blind-show").click()
    page.locator("#compare-blind-pair figure").wait_for()
    page.keyboard.press("l")
    votes = studio.workspace / "runs/first/votes.jsonl"
    eventually(lambda: votes.is_file() and len(votes.read_text().splitlines()) == 1)


def test_runs_wait_go_on_and_resume(dots: Path, page: Any, studio: Running) -> None:
    runs_wait_for_each_other(page)
    a_run_goes_on_while_the_studio_is_started_anew(page, studio)
    a_killed_run_says_so_and_resumes(page, studio)


def runs_wait_for_each_other(page: Any) -> None:
    start(page, "long", "second")
    says(page, "train-status", "second running")
    start(page, "tiny", "third")
    says(page, "train-status", "third waiting")
    says(page, "train-status", re.compile(r"Queue: second\s+running\s+third\s+waiting"))
    page.locator("#train-stop").click()
    says(page, "train-message", "third has left the queue")
    choose(page, "train-shown", "second")


def a_run_goes_on_while_the_studio_is_started_anew(page: Any, studio: Running) -> None:
    says(page, "train-status", "pictures/s", SLOW)
    says(page, "train-status", "Training left")
    says(page, "train-status", "Memory")
    pid = job(studio, "second")["pid"]
    page.goto("about:blank")
    studio.restart()
    assert psutil.pid_exists(pid)
    page.goto(studio.address)
    tab(page, "Train")
    says(page, "train-status", "second running")
    says(page, "train-status", "pictures/s")


def a_killed_run_says_so_and_resumes(page: Any, studio: Running) -> None:
    os.kill(job(studio, "second")["pid"], signal.SIGKILL)
    says(page, "train-status", "ended from outside")
    page.locator("#train-resume").click()
    says(page, "train-status", "second running")
    page.locator("#train-stop").click()
    says(page, "train-status", "Stopped", SLOW)


@pytest.mark.heavy
def test_finished_runs_are_kept_in_order(two_runs: None, page: Any, studio: Running) -> None:
    the_runs_are_listed_and_deleting_asks_twice(page, studio)
    two_runs_are_told_apart(page)
    every_control_has_a_name_and_the_phone_needs_no_sideways_scroll(page)


def the_runs_are_listed_and_deleting_asks_twice(page: Any, studio: Running) -> None:
    from_elsewhere = studio.workspace / "runs" / "newer"
    from_elsewhere.mkdir(parents=True)
    (from_elsewhere / "recipe.toml").write_text("[train]\nquantum_steps = 3\n")
    tab(page, "Runs")
    says(page, "runs-table", "first")
    says(page, "runs-table", "cannot be read: unknown key")
    a_run_is_found_by_a_word_and_by_its_address(page, studio)
    tab(page, "Runs")
    unfold(page, "Delete a run")
    choose(page, "runs-doomed", "newer")
    page.locator("#runs-delete").click()
    says(page, "runs-message", "frees")
    write(page, "runs-typed", "older")
    page.locator("#runs-yes").click()
    says(page, "runs-message", "the name does not fit")
    assert from_elsewhere.exists()
    write(page, "runs-typed", "newer")
    page.locator("#runs-yes").click()
    says(page, "runs-message", "newer is deleted")
    assert not from_elsewhere.exists()


def a_run_is_found_by_a_word_and_by_its_address(page: Any, studio: Running) -> None:
    page.locator("#runs-wanted input").press_sequentially("second")
    eventually(lambda: page.locator("#runs-table tbody tr").count() == 1)
    page.locator("#runs-table a", has_text="second").click()
    eventually(lambda: value(page, "train-shown") == "second")
    assert page.url.endswith("?tab=train&run=second")
    page.reload()
    eventually(lambda: value(page, "train-shown") == "second")


def two_runs_are_told_apart(page: Any) -> None:
    tab(page, "Runs")
    unfold(page, "What differs between two runs")
    choose(page, "runs-one", "first")
    choose(page, "runs-other", "second")
    says(page, "runs-difference", "Recipe of first against second")
    says(page, "runs-difference", "train.max_train_steps")
    choose(page, "runs-other", "first")
    says(page, "runs-difference", "The two recipes are the same")


def every_control_has_a_name_and_the_phone_needs_no_sideways_scroll(page: Any) -> None:
    assert page.evaluate(NAMELESS) == []
    page.set_viewport_size({"width": 390, "height": 844})
    filled = {
        "Data set": "#dataset-cards img", "Recipe": "#field-base-model", "Train": "#train-charts svg",
        "Compare": "#compare-beside .v-empty", "Runs": "#runs-table td",
    }  # fmt: skip
    for name, place in filled.items():
        tab(page, name)
        page.locator(place).first.wait_for()
        eventually(lambda: page.evaluate("document.documentElement.scrollWidth") <= 390)


def start(page: Any, recipe: str, name: str) -> None:
    tab(page, "Train")
    choose(page, "train-recipe", recipe)
    write(page, "train-name", name)
    page.locator("#train-start").click()


def job(studio: Running, name: str) -> Any:
    return json.loads((studio.workspace / f".studio/jobs/{name}/job.json").read_text())


def _loads_in_plain_diffusers(lora: Path, recipe: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(load_recipe(str(recipe)).base.model, safety_checker=None)
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
    assert pipe.get_active_adapters()
