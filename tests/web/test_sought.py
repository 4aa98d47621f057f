"""Pictures are sought by what they are called, and by what is written below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.steps import count, eventually, tab, value


def test_words_filled_in_at_once_are_sought(dots: Path, page: Any) -> None:
    tab(page, "Data set")
    eventually(lambda: value(page, "dataset-name") == "dots")
    count(page, "#dataset-cards img", 12)
    page.locator("#dataset-wanted textarea, #dataset-wanted input").first.fill("NUMBER 12")
    count(page, "#dataset-cards img", 1)
    page.locator("#dataset-wanted textarea, #dataset-wanted input").first.fill("")
    count(page, "#dataset-cards img", 12)
