"""An answer that comes late never writes over what a person typed or chose since it was asked for.

The answers are held back on purpose: the browser's questions wait until the test lets them go.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.driving import Running, end, open_page, veneer_ui, wait_for_address
from helpers.steps import SLOW, choose, count, eventually, says, tab, unfold, value, write
from veneer.config import Recipe
from veneer.recipe import load_recipe, resolve, to_toml
from veneer.records.dataset import Dataset, Item
from veneer.records.files import write_json
from veneer.records.run import RunDir

pytestmark = pytest.mark.timeout(1500)
JOIN = "**/gradio_api/queue/join*"
SPINNERS = """[...document.querySelectorAll('.progress-text, .eta-bar')]
    .filter((one) => one.checkVisibility({ opacityProperty: true })).length"""


@pytest.fixture(scope="module")
def studio(with_gradio: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    workspace = tmp_path_factory.mktemp("late")
    (workspace / "recipes").mkdir()
    for name, steps in (("short", 24), ("long", 99)):
        tables = {"train": {"max_train_steps": steps}, "lora": {"rank": steps}}
        (workspace / "recipes" / f"{name}.toml").write_text(to_toml(resolve(tables)))
        recipe = resolve({"generate": {"prompts": [f"a {name} walk"]}})
        run = RunDir(workspace / "runs" / name)
        run.write_recipe(recipe)
        write_json(run.metrics_json, {"verdict": "better", "reasons": [f"said of {name}"], "measures": {}})
    for name, number in (("few", 3), ("many", 20)):
        pictures(workspace / "datasets" / name, number)
    process = veneer_ui(workspace, "--port", "0")
    yield Running(process, wait_for_address(process), workspace)
    end(process)


def pictures(folder: Path, number: int) -> None:
    (folder / "images").mkdir(parents=True)
    random, items = np.random.default_rng(number), []
    for index in range(number):
        items.append(Item(f"images/{index:06d}.png", f"{folder.name} {index}"))
        pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / items[-1].file_name)
    Dataset(folder).write_metadata(items)


@pytest.fixture
def page(browser: Any, studio: Running) -> Iterator[Any]:
    opened = open_page(browser, studio.address)
    eventually(lambda: value(opened, "dataset-name") == "few")
    count(opened, "#dataset-cards img", 3)
    yield opened
    assert opened.faults == []
    opened.close()


@contextmanager
def held(page: Any) -> Iterator[list[Any]]:
    """Hold back every question asked inside; they go on at its end, and so do their answers."""
    waiting: list[Any] = []
    free: list[bool] = []

    def take(route: Any) -> None:
        waiting.append(route)
        if free:
            route.continue_()

    page.route(JOIN, take)
    yield waiting
    free.append(True)
    for route in list(waiting):
        route.continue_()
    page.unroute(JOIN)


def asked(page: Any) -> Any:
    """Wait for the question that is asked inside."""
    return page.expect_request(lambda request: "queue/join" in request.url)


def pick(page: Any, place: str, text: str) -> None:
    """Choose from a list, and no more: the list may say something else a moment later."""
    page.locator(f"#{place} input").first.click()
    page.get_by_role("option", name=text, exact=True).first.click()


def type_into(page: Any, place: str, text: str) -> None:
    """Type, and stay in the field."""
    page.locator(f"#{place} textarea, #{place} input").first.fill(text)


def captions(studio: Running, name: str) -> list[str]:
    with (studio.workspace / "datasets" / name / "metadata.csv").open(newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)]


def saved(page: Any, studio: Running, name: str) -> Recipe:
    """Save the form, which is answered after all that was asked before, and read the recipe."""
    write(page, "recipe-name", name)
    page.locator("#recipe-save").click()
    says(page, "recipe-message", f"Saved as {name}")
    return load_recipe(str(studio.workspace / "recipes" / f"{name}.toml"))


def test_a_recipe_chosen_leaves_what_is_typed_meanwhile(page: Any, studio: Running) -> None:
    tab(page, "Recipe")
    unfold(page, "Everything")
    unfold(page, "Sizes, crops and tags")
    flag = page.locator("#field-encode-upscale input")
    before = flag.is_checked()
    with held(page):
        with asked(page):
            pick(page, "recipe-start", "short")
        write(page, "field-train-max_train_steps", "30")
        write(page, "field-generate-prompts", "mine")
        pick(page, "field-train-optimizer", "prodigy")
        flag.set_checked(not before)
    eventually(lambda: value(page, "field-lora-rank") == "24")  # the answer came, for all the others
    recipe = saved(page, studio, "typed")
    assert recipe.train.max_train_steps == 30
    assert recipe.generate.prompts == ("mine",)
    assert recipe.train.optimizer == "prodigy"
    assert recipe.encode.upscale is not before


@pytest.mark.heavy
def test_the_last_of_two_recipes_chosen_quickly_is_shown(page: Any, studio: Running) -> None:
    tab(page, "Recipe")
    with held(page):
        with asked(page):
            pick(page, "recipe-start", "short")
        pick(page, "recipe-start", "long")
    eventually(lambda: value(page, "field-train-max_train_steps") == "99")
    assert saved(page, studio, "last").lora.rank == 99
    assert value(page, "field-lora-rank") == "99"


def test_a_field_typed_while_the_form_is_looked_at_stays_and_is_looked_at_too(
    page: Any, studio: Running
) -> None:
    tab(page, "Recipe")
    with held(page):
        with asked(page):
            write(page, "field-train-max_train_steps", "-3")
        write(page, "field-lora-rank", "-7")
    for place in ("field-train-max_train_steps", "field-lora-rank"):
        page.locator(f"#{place}", has_text="Does not fit").wait_for()
    assert value(page, "field-train-max_train_steps") == "-3"
    assert value(page, "field-lora-rank") == "-7"
    what_was_typed_survives_a_reload(page)


def what_was_typed_survives_a_reload(page: Any) -> None:
    page.reload()
    tab(page, "Recipe")
    for place in ("field-train-max_train_steps", "field-lora-rank"):
        page.locator(f"#{place}", has_text="Does not fit").wait_for()
    assert value(page, "field-train-max_train_steps") == "-3"
    assert value(page, "field-lora-rank") == "-7"


def test_a_data_set_chosen_for_a_recipe_leaves_sources_typed_meanwhile(page: Any, studio: Running) -> None:
    tab(page, "Recipe")
    with held(page):
        with asked(page):
            pick(page, "recipe-dataset", "few")
        write(page, "field-collect-sources", "elsewhere")
    saved(page, studio, "before")  # answered after all that was asked before
    assert saved(page, studio, "sources").collect.sources == ("elsewhere",)
    one_line_says_what_works(page)
    tab(page, "Train")
    eventually(lambda: value(page, "train-recipe") == "sources")  # the recipe just saved is the next to start


def one_line_says_what_works(page: Any) -> None:
    with held(page):
        with asked(page):
            page.locator("#recipe-plan").click()
        says(page, "busy", "Working out the plan")
        assert page.evaluate(SPINNERS) == 0
        page.locator("#busy", has_text="2 s").wait_for()
    says(page, "recipe-message", "plan")
    page.locator("#busy").wait_for(state="hidden")


def test_a_tab_opened_before_the_address_is_answered_stays_open(browser: Any, studio: Running) -> None:
    opened = browser.new_page()
    opened.set_default_timeout(180_000)
    with held(opened) as waiting:
        opened.goto(f"{studio.address}?tab=train&run=short")
        eventually(lambda: opened.title() and waiting)
        tab(opened, "Recipe")
        eventually(lambda: "tab=recipe" in opened.evaluate("location.search"))
        opened.evaluate("history.replaceState(null, '', '?tab=train&run=short&unanswered')")
    eventually(lambda: "unanswered" not in opened.evaluate("location.search"))  # the address is answered
    assert opened.evaluate("location.search") == "?tab=recipe"
    tab(opened, "Train")
    eventually(lambda: value(opened, "train-shown") == "short")
    opened.close()


@pytest.mark.heavy
def test_a_recipe_loaded_from_a_file_leaves_what_is_typed_meanwhile(
    page: Any, studio: Running, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text("[train]\nmax_train_steps = 7\n[lora]\nrank = 7\n")
    tab(page, "Recipe")
    with held(page):
        with page.expect_file_chooser() as chooser:
            page.locator("#recipe-load").click()
        with asked(page):
            chooser.value.set_files(tmp_path / "own.toml")
        write(page, "field-train-max_train_steps", "8")
    says(page, "recipe-message", "own.toml is loaded")
    eventually(lambda: value(page, "field-lora-rank") == "7")
    recipe = saved(page, studio, "loaded")
    assert (recipe.lora.rank, recipe.train.max_train_steps) == (7, 8)


def test_a_name_typed_before_the_page_is_filled_stays(browser: Any, studio: Running) -> None:
    opened = browser.new_page()
    opened.set_default_timeout(180_000)
    with held(opened) as waiting:
        opened.goto(studio.address)
        opened.locator("#dataset-name input").wait_for()
        type_into(opened, "dataset-name", "brandnew")
        eventually(lambda: opened.title() and waiting)
    with asked(opened):
        opened.locator("#dataset-name input").press("Enter")
    says(opened, "dataset-empty", "No pictures yet")
    assert value(opened, "dataset-name") == "brandnew"
    opened.close()


def test_a_caption_typed_while_another_data_set_comes_is_saved_under_its_own_picture(
    page: Any, studio: Running
) -> None:
    with held(page):
        with asked(page):
            pick(page, "dataset-name", "many")
        type_into(page, "caption-0", "typed late")
    eventually(lambda: value(page, "caption-0") == "many 0")
    eventually(lambda: captions(studio, "few")[0] == "typed late")
    page.locator("#dataset-name input").focus()
    assert captions(studio, "many")[0] == "many 0"


@pytest.mark.heavy
def test_a_caption_typed_while_the_page_is_turned_is_saved_under_its_own_picture(
    page: Any, studio: Running
) -> None:
    choose(page, "dataset-name", "many")
    eventually(lambda: value(page, "caption-0") == "many 0")
    with held(page):
        with asked(page):
            page.locator("#dataset-on").click()
        write(page, "caption-1", "left")
        type_into(page, "caption-2", "still in it")
    eventually(lambda: value(page, "caption-2") == "many 14")
    eventually(lambda: captions(studio, "many")[1:3] == ["left", "still in it"])
    assert captions(studio, "many")[13:15] == ["many 13", "many 14"]
    with asked(page):  # answered after the captions' saving, which tells of pictures that are gone
        write(page, "caption-3", "the last")
    eventually(lambda: "the last" in captions(studio, "many"))
    says(page, "dataset-message", "000015.png is saved")
    assert [value(page, f"caption-{number}") for number in (1, 2)] == ["many 13", "many 14"]


def test_a_caption_typed_while_all_captions_change_stays(page: Any, studio: Running) -> None:
    unfold(page, "Captions of all pictures")
    write(page, "dataset-prefix", "late")
    with held(page):
        with asked(page):
            page.locator("#dataset-before").click()
        type_into(page, "caption-1", "a person's")
    says(page, "dataset-message", "3 captions changed")
    eventually(lambda: value(page, "caption-2") == "late few 2")
    assert value(page, "caption-1") == "a person's"
    page.locator("#dataset-find input, #dataset-find textarea").first.focus()
    says(page, "dataset-message", "is saved")
    assert captions(studio, "few")[1:] == ["a person's", "late few 2"]


@pytest.mark.heavy
def test_a_caption_changed_again_while_it_is_saved_is_saved_again(page: Any, studio: Running) -> None:
    with held(page):
        with asked(page):
            write(page, "caption-1", "one")
        write(page, "caption-1", "two")
    eventually(lambda: captions(studio, "few")[1] == "two")
    assert value(page, "caption-1") == "two"


def test_a_caption_that_nobody_changed_is_not_written_back(page: Any, studio: Running) -> None:
    Dataset(studio.workspace / "datasets/few").write_metadata(
        [Item(f"images/{index:06d}.png", f"from a shell {index}") for index in range(3)]
    )
    with asked(page):
        page.locator("#caption-0 textarea").focus()
        page.locator("#caption-1 textarea").focus()
    write(page, "caption-1", "by hand")
    says(page, "dataset-message", "is saved")
    assert captions(studio, "few") == ["from a shell 0", "by hand", "from a shell 2"]


@pytest.mark.heavy
def test_pictures_chosen_are_rejected_whatever_page_comes_meanwhile(page: Any, studio: Running) -> None:
    choose(page, "dataset-name", "many")
    eventually(lambda: value(page, "caption-0").startswith("many"))
    page.locator("#tick-3 input").check()
    with held(page) as waiting:
        with asked(page):
            page.locator("#dataset-on").click()
        with asked(page):
            page.locator("#dataset-reject").click()
        waiting.pop(0).continue_()
        eventually(lambda: value(page, "caption-0") == "many 12")
    says(page, "dataset-message", "1 pictures rejected")
    names = {path.name for path in (studio.workspace / "datasets/many/images").iterdir()}
    assert len(names) == 19
    assert "000003.png" not in names


def test_sources_typed_while_others_are_collected_stay(page: Any, studio: Running) -> None:
    type_into(page, "dataset-source", "datasets/many/images")
    write(page, "dataset-name", "third")
    with held(page):
        with asked(page):
            page.locator("#dataset-collect").click()
        type_into(page, "dataset-addresses", "https://example.org/next.png")
    says(page, "dataset-message", "pictures in", SLOW)
    count(page, "#dataset-cards img", 12)
    eventually(lambda: value(page, "dataset-source") == "")
    assert value(page, "dataset-addresses") == "https://example.org/next.png"


@pytest.mark.heavy
def test_a_data_set_chosen_while_another_is_checked_is_the_one_that_is_shown(
    page: Any, studio: Running
) -> None:
    unfold(page, "Look for bad pictures")
    with held(page) as waiting:
        with asked(page):
            page.locator("#dataset-check").click()
        check = waiting.pop()
        with asked(page):
            pick(page, "dataset-name", "many")
        waiting.pop(0).continue_()
        eventually(lambda: value(page, "caption-0").startswith("many"))
        waiting.append(check)
    says(page, "dataset-message", "veneer check datasets/few", SLOW)
    page.locator("#dataset-on").click()
    eventually(lambda: value(page, "caption-0") == captions(studio, "many")[12])
    assert value(page, "dataset-name") == "many"
    assert value(page, "dataset-show").startswith("all")


def test_prompts_typed_while_a_run_comes_stay(page: Any, studio: Running) -> None:
    tab(page, "Compare")
    eventually(lambda: value(page, "compare-prompts") != "")
    other = "short" if value(page, "compare-run") == "long" else "long"
    with held(page):
        with asked(page):
            pick(page, "compare-run", other)
        type_into(page, "compare-prompts", "my own")
    says(page, "compare-verdict", f"said of {other}")
    assert value(page, "compare-prompts") == "my own"
