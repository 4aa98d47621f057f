"""Write docs/licences.md: what Veneer needs to run, and under which licence, as the installed packages say.

python docs/make_licences.py       (tests/unit/test_licences_page.py fails where the page is out of date)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parent / "licences.md"
EXTRAS = ("", "web", "hub", "optimizers", "track", "search")
"""What comes with Veneer itself, and its extras; tools of its makers are left out."""
HEAD = """# Licences

Veneer is under the Apache Licence 2.0 ([LICENSE](../LICENSE), [NOTICE](../NOTICE)). These are the packages
that it needs to run, and those that they need, with the licence that each states in its metadata. An extra
is installed on demand, such as `.[web]`. A CUDA build of torch brings NVIDIA's libraries, under NVIDIA's own
terms. Models and pictures have licences of their own: [rights.md](rights.md).

Made by `docs/make_licences.py`.

| package | licence | comes with |
|---|---|---|
"""
SHORT = 60


def needed() -> dict[str, set[str]]:
    """Every package needed, with the extras that bring it ("" for Veneer itself)."""
    found: dict[str, set[str]] = {}
    for extra in EXTRAS:
        left = [("veneer", extra)]
        seen = set()
        while left:
            name, wanted = left.pop()
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            if name != "veneer":
                found.setdefault(name, set()).add(extra)
            left += _requirements(name, wanted)
    return found


def _own(extra: str) -> list[str]:
    """What Veneer itself asks for; an installed copy may be an older one."""
    project = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    return list(project["optional-dependencies"][extra] if extra else project["dependencies"])


def _requirements(name: str, extra: str) -> Iterator[tuple[str, str]]:
    if name == "veneer":
        yield from ((canonicalize_name(Requirement(line).name), "") for line in _own(extra))
        return
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # not for this machine, or not installed
        return
    for line in lines:
        one = Requirement(line)
        is_plain = one.marker is None or one.marker.evaluate({"extra": ""})
        is_extra = one.marker is not None and one.marker.evaluate({"extra": extra}) and not is_plain
        if is_extra if extra else is_plain:
            yield from ((canonicalize_name(one.name), inner) for inner in ("", *sorted(one.extras)))


def licence_of(name: str) -> str:
    """What a package says of its licence: an expression, else classifiers, else its text's first line."""
    told = metadata.metadata(name)
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = [
        c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    names = [one for one in classifiers if one != "OSI Approved"]
    if names:
        return ", ".join(names)
    text = str(told.get("License") or "").strip().splitlines()
    return re.sub(r"\s+", " ", text[0])[:SHORT] if text else "not stated"


def page() -> str:
    """The page, of the packages that are installed here."""
    rows = []
    for name, extras in sorted(needed().items()):
        try:
            licence = licence_of(name)
        except metadata.PackageNotFoundError:
            continue
        by = "Veneer" if "" in extras else ", ".join(f"`[{one}]`" for one in sorted(extras))
        rows.append(f"| {name} | {licence.replace('|', '/')} | {by} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
