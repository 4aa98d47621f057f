"""From an empty workspace to a downloaded LoRA, in a real browser."""

import csv
import json
import re
import time
from pathlib import Path

import pytest

from tiny import tiny_pictures

SLOW = 300_000


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def write(page, place, text):
    field = page.locator(f"#{place} textarea, #{place} input").first
    field.fill(text)
    field.blur()


def choose(page, place, text):
    field = page.locator(f"#{place} input").first
    field.click()
    page.get_by_role("option", name=text, exact=True).first.click()


def says(page, place, text, timeout=120_000):
    page.locator(f"#{place}", has_text=text).wait_for(timeout=timeout)


def value(page, place):
    return page.locator(f"#{place} textarea, #{place} input").first.input_value()


def eventually(check, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if check():
            return
        time.sleep(0.3)
    raise AssertionError("it did not happen in time")


def the_empty_studio_says_what_to_do_first(page, studio):
    says(page, "dataset-empty", "No pictures yet")
    tab(page, "Train")
    says(page, "train-status", "No run yet")
    tab(page, "Runs")
    says(page, "runs-table", "No runs yet")
    tab(page, "Compare")
    says(page, "compare-verdict", "Nothing to compare yet")


def nothing_is_fetched_from_other_hosts(page):
    fonts = page.evaluate("getComputedStyle(document.querySelector('#try-demo')).fontFamily")
    assert page.elsewhere == []
    assert "system-ui" in fonts


def pictures_are_dropped_and_broken_ones_are_left_out(page, studio, tmp_path):
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
    assert page.locator("#dataset-cards img").count() == 12
    assert page.locator("#dataset-cards img:not([alt])").count() == 0


def a_caption_is_edited_in_place(page, studio):
    write(page, "caption-0", "a red dot, by hand")
    says(page, "dataset-message", "is saved")
    with (studio.workspace / "datasets/dots/metadata.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["caption"] == "a red dot, by hand"


def pictures_are_rejected_and_restored(page, studio):
    images = studio.workspace / "datasets/dots/images"
    page.locator("#tick-0 input").check()
    page.locator("#dataset-reject").click()
    says(page, "dataset-message", "1 pictures rejected")
    assert len(list(images.iterdir())) == 12
    choose(page, "dataset-show", "rejected (2)")
    page.locator("#card-1 img").wait_for()
    eventually(lambda: page.locator("#tick-1 input").count() and page.locator("#tick-1 input").is_enabled())
    page.locator("#tick-1 input").check()
    page.locator("#dataset-restore").click()
    says(page, "dataset-message", "1 pictures restored")
    assert len(list(images.iterdir())) == 13
    with (images.parent / "metadata.csv").open(newline="") as file:
        assert "a red dot, by hand" in {row["caption"] for row in csv.DictReader(file)}


def captions_of_all_pictures_change_at_once(page, studio):
    page.get_by_role("button", name="Captions of all pictures").click()
    write(page, "dataset-prefix", "8-bit")
    page.locator("#dataset-before").click()
    says(page, "dataset-message", "13 captions changed")
    write(page, "dataset-find", "red")
    write(page, "dataset-put", "green")
    page.locator("#dataset-replace").click()
    says(page, "dataset-message", "1 captions changed")


def a_field_that_does_not_fit_says_so_beside_itself(page, studio):
    tab(page, "Recipe")
    choose(page, "recipe-start", "tiny")
    eventually(lambda: value(page, "field-encode-resolution") == "32")
    write(page, "field-train-max_train_steps", "-3")
    page.locator("#field-train-max_train_steps", has_text="Does not fit").wait_for()
    write(page, "recipe-name", "mine")
    page.locator("#recipe-save").click()
    says(page, "recipe-message", "do not fit")
    assert not (studio.workspace / "recipes" / "mine.toml").exists()


def a_recipe_is_saved_with_the_data_set(page, studio):
    from veneer.recipe import load_recipe

    write(page, "field-train-max_train_steps", "40")
    page.locator("#field-train-max_train_steps:not(:has-text('Does not fit'))").wait_for()
    choose(page, "recipe-dataset", "dots")
    eventually(lambda: value(page, "field-collect-sources") == "datasets/dots")
    write(page, "recipe-name", "mine")
    page.locator("#recipe-save").click()
    says(page, "recipe-message", "Saved as mine")
    saved = load_recipe(str(studio.workspace / "recipes" / "mine.toml"))
    assert saved.collect.sources == ("datasets/dots",)
    page.locator("#recipe-plan").click()
    says(page, "recipe-message", "Steps", SLOW)
    says(page, "recipe-message", "Free on this disk")


def a_run_survives_a_reload_and_ends_with_curves(page, studio):
    tab(page, "Train")
    choose(page, "train-recipe", "mine")
    write(page, "train-name", "first")
    page.locator("#train-start").click()
    says(page, "train-message", "veneer run recipes/mine.toml --out runs/first")
    says(page, "train-status", "running")
    eventually((studio.workspace / "runs/first/train/log.jsonl").is_file, 300)
    page.reload()
    tab(page, "Train")
    says(page, "train-status", "first")
    page.locator("#train-charts svg").first.wait_for(timeout=SLOW)
    says(page, "train-status", "Done. Look at first", SLOW)
    assert "done" in page.locator("#train-status").inner_text()
    assert page.locator("#train-charts svg[role=img]").count() >= 4


def the_lora_is_compared_drawn_and_downloaded(page, studio, tmp_path):
    tab(page, "Compare")
    says(page, "compare-verdict", "Verdict")
    page.locator("#compare-beside input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator("#compare-beside .v-slider").get_attribute("style") == "--at: 53%;"
    write(page, "compare-prompts", "a blue square")
    write(page, "compare-seeds", "7")
    page.locator("#compare-draw").click()
    says(page, "compare-message", "veneer generate", SLOW)
    says(page, "compare-beside", "a blue square")
    with page.expect_download() as download:
        page.locator("#compare-file-0").click()
    path = tmp_path / "pytorch_lora_weights.safetensors"
    download.value.save_as(path)
    assert path.read_bytes() == (studio.workspace / "runs/first/lora" / path.name).read_bytes()
    _loads_in_plain_diffusers(path, studio.workspace / "recipes" / "mine.toml")


def the_runs_are_listed_and_deleting_asks_twice(page, studio):
    from_elsewhere = studio.workspace / "runs" / "newer"
    from_elsewhere.mkdir(parents=True)
    (from_elsewhere / "recipe.toml").write_text("[train]\nquantum_steps = 3\n")
    tab(page, "Runs")
    says(page, "runs-table", "first")
    says(page, "runs-table", "cannot be read: unknown key")
    page.get_by_role("button", name="Delete a run").click()
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


def a_killed_run_says_so_and_resumes(page, studio):
    import os
    import signal

    tab(page, "Train")
    choose(page, "train-recipe", "mine")
    write(page, "train-name", "second")
    page.locator("#train-start").click()
    says(page, "train-status", "running")
    job = json.loads((studio.workspace / ".studio/jobs/second/job.json").read_text())
    os.kill(job["pid"], signal.SIGKILL)
    says(page, "train-status", "ended from outside")
    page.locator("#train-resume").click()
    says(page, "train-status", "running")
    page.locator("#train-stop").click()
    says(page, "train-status", "Stopped", SLOW)


def every_control_has_a_name_and_the_phone_needs_no_sideways_scroll(page):
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, textarea, select')]
        .filter(e => e.offsetParent && !e.closest('[aria-hidden=true]'))
        .filter(e => !(e.innerText || e.ariaLabel || e.labels?.length || e.title || e.placeholder))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Data set", "Recipe", "Train", "Compare", "Runs"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    assert page.faults == []
    assert page.elsewhere == []


@pytest.mark.timeout(1200)
def test_from_an_empty_workspace_to_a_lora(page, studio, tmp_path):
    """One test, because each step stands on the one before; a busy machine takes minutes."""
    the_empty_studio_says_what_to_do_first(page, studio)
    nothing_is_fetched_from_other_hosts(page)
    pictures_are_dropped_and_broken_ones_are_left_out(page, studio, tmp_path)
    a_caption_is_edited_in_place(page, studio)
    pictures_are_rejected_and_restored(page, studio)
    captions_of_all_pictures_change_at_once(page, studio)
    a_field_that_does_not_fit_says_so_beside_itself(page, studio)
    a_recipe_is_saved_with_the_data_set(page, studio)
    a_run_survives_a_reload_and_ends_with_curves(page, studio)
    the_lora_is_compared_drawn_and_downloaded(page, studio, tmp_path)
    the_runs_are_listed_and_deleting_asks_twice(page, studio)
    a_killed_run_says_so_and_resumes(page, studio)
    every_control_has_a_name_and_the_phone_needs_no_sideways_scroll(page)


def _loads_in_plain_diffusers(lora: Path, recipe: Path) -> None:
    from diffusers import StableDiffusionPipeline

    from veneer.recipe import load_recipe

    pipe = StableDiffusionPipeline.from_pretrained(load_recipe(str(recipe)).base.model, safety_checker=None)
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
    assert pipe.get_active_adapters()
