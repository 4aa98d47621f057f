"""What a person does on the studio's page, and how a test waits for it: for a state, never for a time.

Every wait names something that only the state waited for has; the machine may be busy, so none is short.
"""

import re
import time
from collections.abc import Callable
from typing import Any

SLOW = 300_000
"""Milliseconds for what loads models or trains."""
PATIENT = 180_000
"""Milliseconds for everything else."""

CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  let seen = 0;
  for (const node of document.querySelectorAll('.gradio-container *:not(svg *)')) {
    const shown = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const typed = node.matches('input:not([type=range]):not([type=checkbox]), textarea') && node.value;
    if (!shown || !(own || typed) || node.matches(':disabled, :disabled *, style, script')) continue;
    seen += 1;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(ratio.toFixed(2) + ' ' + node.outerHTML.slice(0, 110));
  }
  return [seen, bad];
}"""
"""Counts the texts on the page, and lists those with a contrast below WCAG AA's 4.5 : 1."""

NAMELESS = """[...document.querySelectorAll('button, input, textarea, select')]
    .filter(e => e.offsetParent && !e.closest('[aria-hidden=true]'))
    .filter(e => !(e.innerText || e.ariaLabel || e.labels?.length || e.title || e.placeholder))
    .map(e => e.outerHTML.slice(0, 120))"""
"""Controls that a screen reader has no name for."""


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.get_by_role("tab", name=name, exact=True, selected=True).wait_for()


def unfold(page: Any, name: str) -> None:
    """Open what is folded; pressing the head of an open one would fold it."""
    head = page.locator("button.label-wrap", has_text=name).filter(visible=True)
    if "open" not in (head.get_attribute("class") or "").split():
        head.click()


def write(page: Any, place: str, text: str) -> None:
    field = page.locator(f"#{place} textarea, #{place} input").first
    field.fill(text)
    field.blur()


def choose(page: Any, place: str, text: str) -> None:
    field = page.locator(f"#{place} input").first
    field.click()
    page.get_by_role("option", name=text, exact=True).first.click()
    eventually(lambda: field.input_value() == text)


def says(page: Any, place: str, text: str | re.Pattern[str], timeout: float = PATIENT) -> None:
    try:
        page.locator(f"#{place}", has_text=text).wait_for(timeout=timeout)
    except Exception as error:
        found = page.locator(f"#{place}").inner_text(timeout=5000)
        raise AssertionError(f"#{place} says {found!r}, not {text!r}") from error


def says_any(page: Any, place: str, *texts: str, timeout: float = PATIENT) -> None:
    """Wait for one of several texts: a state that passes may be over before it is seen."""
    says(page, place, re.compile("|".join(map(re.escape, texts))), timeout)


def count(page: Any, selector: str, number: int) -> None:
    """Wait until so many elements are there and seen."""
    eventually(lambda: page.locator(selector).filter(visible=True).count() == number)


def value(page: Any, place: str) -> str:
    return page.locator(f"#{place} textarea, #{place} input").first.input_value()


def eventually(
    check: Callable[[], object],
    seconds: float = 180,
    found: Callable[[], str] = lambda: "it did not happen in time",
) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, found()
        time.sleep(0.2)
