"""The page of licences names every package that Veneer needs to run, with what it says of its licence."""

from __future__ import annotations

import runpy
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
MAKE: dict[str, Any] = runpy.run_path(str(ROOT / "docs/make_licences.py"))
ROWS = {
    line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1]
    for line in (ROOT / "docs/licences.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and " | " in line
}


def declared() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [project["optional-dependencies"][name] for name in MAKE["EXTRAS"] if name]
    return [canonicalize_name(Requirement(one).name) for one in sum(extras, project["dependencies"])]


@pytest.mark.parametrize("name", sorted(set(declared())))
def test_every_declared_dependency_has_its_licence(name: str) -> None:
    try:
        licence = MAKE["licence_of"](name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert ROWS[name] == licence, "run: python docs/make_licences.py"


def test_what_they_need_is_named_too_and_says_its_licence() -> None:
    installed = [name for name in MAKE["needed"]() if _is_here(name)]
    assert set(installed) <= set(ROWS), "run: python docs/make_licences.py"
    assert len(installed) > 40


def _is_here(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
