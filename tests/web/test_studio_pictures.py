"""From an empty workspace to a data set in order and a recipe for it, in a real browser, scene by scene.

Every scene lays its workspace down by files and stands on none before it.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from helpers.driving import Running
from helpers.steps import SLOW, choose, count, eventually, says, tab, unfold, value, write
from helpers.tiny import tiny_pictures
from veneer.recipe import load_recipe

pytestmark = pytest.mark.timeout(3000)  # a busy machine takes minutes


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


def captions(studio: Running) -> list[str]:
    with (studio.workspace / "datasets/dots/metadata.csv").open(newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)]
