"""From an empty workspace to a downloaded LoRA, in a real browser, scene by scene.

Every scene lays its workspace down by files and stands on none before it. They share a studio, which takes
seconds to start; after a scene that failed it is started anew, as nobody knows what it was left at.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.driving import Running, end, kill_runs, open_page, tiny_recipe, veneer_ui, wait_for_address
from helpers.proofrun import make_run
from helpers.steps import (
    NAMELESS,
    SLOW,
    choose,
    count,
    eventually,
    says,
    says_any,
    tab,
    unfold,
    value,
    write,
)  # fmt: skip
from helpers.tiny import tiny_pictures
from veneer.recipe import load_recipe
from veneer.records.dataset import Dataset, Item
from veneer.records.jsonlines import append_lines

pytestmark = pytest.mark.timeout(3000)  # a busy machine takes minutes
LEFT_OUT = {"broken.png": "not a picture", "http://127.0.0.1:9/x.png": "127.0.0.1 is not a public address"}


@pytest.fixture(scope="module")
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
    """The studio on a workspace with two recipes of the tiny base: a short one, and one without end."""
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


def test_an_empty_workspace_is_filled_with_pictures(page: Any, studio: Running, tmp_path: Path) -> None:
    the_empty_studio_says_what_to_do_first(page)
    nothing_is_fetched_from_other_hosts(page)
    pictures_are_dropped_and_broken_ones_are_left_out(page, studio, tmp_path)
    addresses_are_collected_and_those_of_this_machine_refused(page)


def the_empty_studio_says_what_to_do_first(page: Any) -> None:
    says(page, "dataset-empty", "No pictures yet")
    tab(page, "Train")
    says(page, "train-status", "No run yet")
    tab(page, "Runs")
    says(page, "runs-table", "No runs yet")
    tab(page, "Compare")
    says(page, "compare-verdict", "Nothing to compare yet")


def nothing_is_fetched_from_other_hosts(page: Any) -> None:
    """That no page asks for anything elsewhere is held at the end of every scene."""
    fonts = page.evaluate("getComputedStyle(document.querySelector('#try-demo')).fontFamily")
    assert "system-ui" in fonts


def pictures_are_dropped_and_broken_ones_are_left_out(page: Any, studio: Running, tmp_path: Path) -> None:
    pictures = tiny_pictures(tmp_path / "pictures", 13)
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nthis is no picture")
    tab(page, "Data set")
    write(page, "dataset-name", "dots")
    page.locator("#dataset-name input").press("Enter")
    page.locator("#dataset-files input[type=file]").set_input_files(sorted(map(str, pictures.iterdir())))
    dropped = re.compile(r"broken\s*\.png")  # Gradio writes stem and ending apart once a file is uploaded
    page.locator("#dataset-files", has_text=dropped).wait_for()
    page.locator("#dataset-collect").click()
    says(page, "dataset-message", "13 pictures in", SLOW)
    says(page, "dataset-message", "1 left out")
    says(page, "dataset-message", "veneer collect")
    folder = studio.workspace / "datasets" / "dots"
    assert len(list((folder / "images").iterdir())) == 13
    count(page, "#dataset-cards img", 12)
    assert page.locator("#dataset-cards img:not([alt])").count() == 0


def addresses_are_collected_and_those_of_this_machine_refused(page: Any) -> None:
    write(page, "dataset-addresses", "http://127.0.0.1:9/x.png")
    page.locator("#dataset-collect").click()
    says(page, "dataset-message", "urls:.studio/addresses/dots.txt", SLOW)
    says(page, "dataset-message", "1 refused")


def test_a_data_set_is_put_in_order(dots: Path, page: Any, studio: Running) -> None:
    eventually(lambda: value(page, "dataset-name") == "dots")
    count(page, "#dataset-cards img", 12)
    a_caption_is_edited_in_place(page, studio)
    pictures_are_rejected_and_restored(page, studio)
    captions_of_all_pictures_change_at_once(page, studio)
    pictures_without_a_caption_are_described(page, studio)
    what_check_finds_becomes_filters(page)


def a_caption_is_edited_in_place(page: Any, studio: Running) -> None:
    write(page, "caption-0", "a red dot, by hand")
    says(page, "dataset-message", "is saved")
    assert captions(studio)[0] == "a red dot, by hand"


def pictures_are_rejected_and_restored(page: Any, studio: Running) -> None:
    images = studio.workspace / "datasets/dots/images"
    page.locator("#tick-0 input").check()
    page.locator("#dataset-reject").click()
    says(page, "dataset-message", "1 pictures rejected")
    assert len(list(images.iterdir())) == 12
    eventually(lambda: not page.locator("#tick-0 input").is_checked())
    choose(page, "dataset-show", "rejected (3)")
    count(page, ".v-card", 3)  # the broken file, the address refused, and the one rejected by hand
    says(page, "dataset-cards", "is not a public address")
    page.locator("#tick-0 input:disabled").wait_for()  # what collect left out cannot come back
    page.locator("#tick-2 input:enabled").check()
    page.locator("#dataset-restore").click()
    says(page, "dataset-message", "1 pictures restored")
    assert len(list(images.iterdir())) == 13
    assert "a red dot, by hand" in captions(studio)


def captions_of_all_pictures_change_at_once(page: Any, studio: Running) -> None:
    unfold(page, "Captions of all pictures")
    write(page, "dataset-prefix", "8-bit")
    page.locator("#dataset-before").click()
    says(page, "dataset-message", "13 captions changed")
    write(page, "dataset-find", "red")
    write(page, "dataset-put", "green")
    page.locator("#dataset-replace").click()
    says(page, "dataset-message", "1 captions changed")
    assert "8-bit a green dot, by hand" in captions(studio)


def pictures_without_a_caption_are_described(page: Any, studio: Running) -> None:
    choose(page, "dataset-show", "all (13)")
    count(page, ".v-card", 12)
    write(page, "caption-1", "")
    eventually(lambda: "" in captions(studio))
    page.locator("#dataset-caption").click()
    says(page, "dataset-message", "veneer caption datasets/dots --model pocket", SLOW)
    assert "" not in captions(studio)


def what_check_finds_becomes_filters(page: Any) -> None:
    unfold(page, "Look for bad pictures")
    write(page, "dataset-resolution", "512")
    page.locator("#dataset-check").click()
    says(page, "dataset-message", "veneer check datasets/dots", SLOW)
    eventually(lambda: value(page, "dataset-show") == "flagged (13)")
    says(page, "dataset-facts", "Buckets at 512 px")
    count(page, ".v-card .v-gone", 12)
    choose(page, "dataset-show", "small (13)")


def test_a_recipe_is_made_for_a_data_set(dots: Path, page: Any, studio: Running) -> None:
    a_field_that_does_not_fit_says_so_beside_itself(page, studio)
    a_recipe_is_saved_with_the_data_set(page, studio)


def a_field_that_does_not_fit_says_so_beside_itself(page: Any, studio: Running) -> None:
    tab(page, "Recipe")
    choose(page, "recipe-start", "tiny")
    eventually(lambda: value(page, "field-train-max_train_steps") == "24")
    write(page, "field-train-max_train_steps", "-3")
    page.locator("#field-train-max_train_steps", has_text="Does not fit").wait_for()
    write(page, "recipe-name", "mine")
    page.locator("#recipe-save").click()
    says(page, "recipe-message", "do not fit")
    assert not (studio.workspace / "recipes" / "mine.toml").exists()


def a_recipe_is_saved_with_the_data_set(page: Any, studio: Running) -> None:
    write(page, "field-train-max_train_steps", "40")
    page.locator("#field-train-max_train_steps", has_not_text="Does not fit").wait_for()
    write(page, "field-collect-sources", "elsewhere")
    choose(page, "recipe-dataset", "dots")
    eventually(lambda: value(page, "field-collect-sources") == "datasets/dots")
    write(page, "recipe-name", "mine")
    page.locator("#recipe-save").click()
    says(page, "recipe-message", "Saved as mine")
    saved = load_recipe(str(studio.workspace / "recipes" / "mine.toml"))
    assert saved.collect.sources == ("datasets/dots",)
    assert saved.train.max_train_steps == 40
    page.locator("#recipe-plan").click()
    says(page, "recipe-message", "The plan", SLOW)
    says(page, "recipe-message", "Free on this disk")


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
    says(page, "train-status", "Done. Look at first", SLOW)
    count(page, "#train-charts svg[role=img]", 4)


def the_lora_is_compared_drawn_and_downloaded(page: Any, studio: Running, tmp_path: Path) -> None:
    tab(page, "Compare")
    page.locator("#compare-verdict table").wait_for()
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
    unfold(page, "Checkpoints side by side")
    page.locator("#compare-grid").click()
    says(page, "compare-table", "The grid is drawn", SLOW)
    steps = len(list((studio.workspace / "runs/first/train/checkpoints").glob("step-*/adapter.safetensors")))
    count(page, "#compare-table img", 1 + min(4, steps))
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


def captions(studio: Running) -> list[str]:
    with (studio.workspace / "datasets/dots/metadata.csv").open(newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)]


def job(studio: Running, name: str) -> Any:
    return json.loads((studio.workspace / f".studio/jobs/{name}/job.json").read_text())


def _loads_in_plain_diffusers(lora: Path, recipe: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(load_recipe(str(recipe)).base.model, safety_checker=None)
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
    assert pipe.get_active_adapters()
