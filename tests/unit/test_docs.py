"""The documentation says what the program does."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = runpy.run_path(str(ROOT / "docs/make_reference.py"))


@pytest.mark.parametrize("name", ["recipe.md", "commands.md", "python.md"])
def test_the_reference_is_up_to_date(name):
    written = (ROOT / "docs/reference" / name).read_text("utf-8")
    assert written == MAKE["pages"]()[name], "run: python docs/make_reference.py"


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"


def test_recipes_open_with_purpose_hardware_minutes_and_command():
    for recipe in (ROOT / "src/veneer/recipes").glob("*.toml"):
        head = recipe.read_text("utf-8").partition("\n[")[0]
        for word in ("# Hardware:", "# Minutes:", f"# Command:  veneer run {recipe.stem}"):
            assert word in head, f"{recipe.name}: {word}"
