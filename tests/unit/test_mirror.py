"""Who looks for the tests of a module finds them under the module's own path."""

from __future__ import annotations

from pathlib import Path

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
APART = {
    "test_api.py": "the public names",
    "test_docs.py": "the documentation",
    "test_licences_page.py": "the licences of what is needed",
    "test_mirror.py": "this",
    "test_public_names.py": "the names of all modules",
    "test_ways_in.py": "containers, notebooks, start files",
}


def home_of(test: Path) -> Path:
    """The module that a test file is about."""
    source = ROOT if test.is_relative_to("bench") else ROOT / "src" / "veneer"
    return source / test.with_name(test.name.removeprefix("test_"))


def test_every_unit_test_stands_where_its_module_stands() -> None:
    tests = {test.relative_to(UNIT) for test in UNIT.rglob("test_*.py")}
    lost = sorted(map(str, {test for test in tests if not home_of(test).is_file()}))
    assert lost == sorted(APART)
    assert not [test for test in UNIT.rglob("*.py") if not test.name.startswith(("test_", "conftest"))]
