"""From an empty workspace to a downloaded LoRA, in a real browser."""

import csv
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.driving import Running
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


def the_empty_studio_says_what_to_do_first(page: Any, studio: Running) -> None:
    says(page, "dataset-empty", "No pictures yet")
    tab(page, "Train")
    says(page, "train-status", "No run yet")
    tab(page, "Runs")
    says(page, "runs-table", "No runs yet")
    tab(page, "Compare")
    says(page, "compare-verdict", "Nothing to compare yet")


def nothing_is_fetched_from_other_hosts(page: Any) -> None:
    fonts = page.evaluate("getComputedStyle(document.querySelector('#try-demo')).fontFamily")
    assert page.elsewhere == []
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


def addresses_are_collected_and_those_of_this_machine_refused(page: Any, studio: Running) -> None:
    write(page, "dataset-addresses", "http://127.0.0.1:9/x.png")
    page.locator("#dataset-collect").click()
    says(page, "dataset-message", "urls:.studio/addresses/dots.txt", SLOW)
    says(page, "dataset-message", "1 refused")


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


def what_check_finds_becomes_filters(page: Any, studio: Running) -> None:
    unfold(page, "Look for bad pictures")
    write(page, "dataset-resolution", "512")
    page.locator("#dataset-check").click()
    says(page, "dataset-message", "veneer check datasets/dots", SLOW)
    eventually(lambda: value(page, "dataset-show") == "flagged (13)")
    says(page, "dataset-facts", "Buckets at 512 px")
    count(page, ".v-card .v-gone", 12)
    choose(page, "dataset-show", "small (13)")


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
    from veneer.recipe import load_recipe

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


def a_run_survives_a_reload_and_ends_with_curves(page: Any, studio: Running) -> None:
    start(page, "mine", "first")
    says(page, "train-message", "veneer run recipes/mine.toml --out runs/first")
    says_any(page, "train-status", "first running", "first done")
    eventually((studio.workspace / "runs/first/train/log.jsonl").is_file, 400)
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
    for number, path in enumerate((folder / "pytorch_lora_weights.safetensors", *folder.glob("kohya/*"))):
        with page.expect_download() as download:
            page.locator(f"#compare-file-{number}").click()
        download.value.save_as(tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
        _loads_in_plain_diffusers(tmp_path / path.name, studio.workspace / "recipes" / "mine.toml")


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


def runs_wait_for_each_other(page: Any, studio: Running) -> None:
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
    assert page.faults == []
    assert page.elsewhere == []


@pytest.mark.timeout(3000)
def test_from_an_empty_workspace_to_a_lora(page: Any, studio: Running, tmp_path: Path) -> None:
    """One test, because each step stands on the one before; a busy machine takes minutes."""
    the_empty_studio_says_what_to_do_first(page, studio)
    nothing_is_fetched_from_other_hosts(page)
    pictures_are_dropped_and_broken_ones_are_left_out(page, studio, tmp_path)
    addresses_are_collected_and_those_of_this_machine_refused(page, studio)
    a_caption_is_edited_in_place(page, studio)
    pictures_are_rejected_and_restored(page, studio)
    captions_of_all_pictures_change_at_once(page, studio)
    pictures_without_a_caption_are_described(page, studio)
    what_check_finds_becomes_filters(page, studio)
    a_field_that_does_not_fit_says_so_beside_itself(page, studio)
    a_recipe_is_saved_with_the_data_set(page, studio)
    a_run_survives_a_reload_and_ends_with_curves(page, studio)
    the_lora_is_compared_drawn_and_downloaded(page, studio, tmp_path)
    the_runs_are_listed_and_deleting_asks_twice(page, studio)
    runs_wait_for_each_other(page, studio)
    a_run_goes_on_while_the_studio_is_started_anew(page, studio)
    a_killed_run_says_so_and_resumes(page, studio)
    two_runs_are_told_apart(page)
    every_control_has_a_name_and_the_phone_needs_no_sideways_scroll(page)


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

    from veneer.recipe import load_recipe

    pipe = StableDiffusionPipeline.from_pretrained(load_recipe(str(recipe)).base.model, safety_checker=None)
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
    assert pipe.get_active_adapters()
