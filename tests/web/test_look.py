"""The studio filled with a finished run: contrast, names and width, in light and dark, by keyboard too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.driving import Running, end, open_page, veneer_ui, wait_for_address
from helpers.proofrun import make_run, proof_recipe
from helpers.steps import CONTRAST, NAMELESS, count, eventually, says, tab, unfold, write
from veneer.records.dataset import Dataset, Item
from veneer.stages.compare import compare
from veneer.stages.generate import generate
from veneer.stages.report import report

pytestmark = pytest.mark.timeout(1500)
PICTURES = 1000
FILLED = {
    "Data set": "#dataset-cards img", "Recipe": "#field-base-model", "Train": "#train-status h3",
    "Compare": "#compare-beside img", "Runs": "#runs-table td",
}  # fmt: skip


@pytest.fixture(scope="module")
def filled(
    with_gradio: None,
    tmp_path_factory: pytest.TempPathFactory,
    base_folder: Path,
    picture_folder: Path,
    clip_folder: Path,
) -> Iterator[Running]:
    workspace = tmp_path_factory.mktemp("filled")
    run = make_run(workspace / "runs" / "first", base_folder, picture_folder)
    recipe = proof_recipe(base_folder, clip_folder)
    run.write_recipe(recipe)
    for stage in (generate, compare, report):
        stage(run, recipe)
    many_pictures(workspace / "datasets" / "many")
    process = veneer_ui(workspace, "--port", "0")
    yield Running(process, wait_for_address(process), workspace)
    end(process)


def many_pictures(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    random, items = np.random.default_rng(0), []
    for number in range(PICTURES):
        items.append(Item(f"images/{number:06d}.png", f"picture {number}"))
        pixels = random.integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / items[-1].file_name)
    Dataset(folder).write_metadata(items)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.heavy)])
def test_every_text_can_be_read_and_every_control_has_a_name(
    browser: Any, filled: Running, scheme: str
) -> None:
    page = open_page(browser, filled.address, color_scheme=scheme)
    for name, place in FILLED.items():
        tab(page, name)
        page.locator(place).first.wait_for()
        for head in page.locator("button.label-wrap").filter(visible=True).all():
            unfold(page, head.inner_text().strip("◀▼ \n"))
        # What folds open fades in: the colours are those of the end once it is there.
        eventually(lambda: page.evaluate(CONTRAST)[1] == [], 60, lambda: page.evaluate(CONTRAST)[1])
        assert page.evaluate(CONTRAST)[0] > 20
        assert page.evaluate(NAMELESS) == []
    assert page.faults == page.elsewhere == []
    page.close()


def test_a_thousand_pictures_are_paged_by_keyboard(browser: Any, filled: Running) -> None:
    page = open_page(browser, filled.address, viewport={"width": 390, "height": 844})
    says(page, "dataset-facts", "1000")
    count(page, "#dataset-cards img", 12)
    eventually(lambda: page.evaluate("document.documentElement.scrollWidth") <= 390)
    page.locator("#dataset-back:disabled").wait_for()
    page.locator("#dataset-on").focus()
    page.keyboard.press("Enter")
    says(page, "card-0", "000012.png")
    assert page.locator("#card-0 img").get_attribute("alt") == "picture 12"
    page.locator("#dataset-page input").fill("84")
    page.keyboard.press("Enter")
    says(page, "card-3", "000999.png")
    count(page, "#dataset-cards img", 4)
    page.locator("#dataset-on:disabled").wait_for()
    page.close()


def test_two_fields_left_at_once_are_both_judged(browser: Any, filled: Running) -> None:
    page = open_page(browser, filled.address)
    tab(page, "Recipe")
    places = ["field-train-learning_rate", "field-train-max_train_steps"]
    for place in places:  # the second is left while the answer to the first is on its way
        write(page, place, "-1")
    for place in places:
        says(page, place, "Does not fit")
    write(page, places[0], "0.001")
    write(page, places[1], "100")
    for place in places:
        page.locator(f"#{place}", has_not_text="Does not fit").wait_for()
    page.close()
