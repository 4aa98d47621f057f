"""The report in a real browser: phone and desktop width, light and dark, slider and keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.proofrun import make_run, proof_recipe
from veneer.stages.compare import compare
from veneer.stages.generate import generate
from veneer.stages.report import report

pytestmark = pytest.mark.timeout(900)

CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll("main *:not(svg *)")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(node.outerHTML.slice(0, 80));
  }
  return bad;
}"""


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path, clip_folder: Path
) -> str:
    run = make_run(tmp_path_factory.mktemp("page") / "run", base_folder, picture_folder)
    recipe = proof_recipe(base_folder, clip_folder)
    run.write_recipe(recipe)
    for stage in (generate, compare, report):
        stage(run, recipe)
    return (run.report / "index.html").as_uri()


@pytest.fixture(params=[(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")], ids=str)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    opened = context.new_page()
    opened.set_default_timeout(180_000)
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.goto(address)
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    yield opened
    assert opened.errors == []
    context.close()


def test_page_fits_its_window_and_can_be_read(page: Any) -> None:
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("[...document.images].every((image) => image.decode)")


def test_slider_and_pairs_by_keyboard(page: Any) -> None:
    page.locator("#cut").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.getElementById('stage').style.getPropertyValue('--cut')") == "53%"
    pair = page.locator(".cell").nth(4)
    pair.focus()
    page.keyboard.press("Enter")
    assert pair.get_attribute("aria-pressed") == "true"
    assert page.locator("#stage-about").inner_text() == pair.get_attribute("data-about")
    shown = page.locator("#stage-tuned").get_attribute("src")
    assert shown == pair.locator("img").nth(1).get_attribute("src")
