"""The ways in: notebooks that are notebooks, a start file for Windows, containers that name what is there."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_notebook_for_colab_holds_code_that_names_what_is_there() -> None:
    book = json.loads((ROOT / "examples/colab.ipynb").read_text("utf-8"))
    assert (book["nbformat"], len({cell["id"] for cell in book["cells"]})) == (4, len(book["cells"]))
    import veneer

    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            source = re.sub(r"^(\s*)%pip .*", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)
            for name in re.findall(r"veneer\.(\w+)\(", source):
                assert callable(getattr(veneer, name))
            ast.parse(source)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_container_copies_what_is_there_and_pins_the_tested_torch(name: str) -> None:
    lines = (ROOT / f"docker/Dockerfile.{name}").read_text("utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / place).exists() for place in line.split()[1:-1]), line
    pinned = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)[0]
    assert any(pinned in line for line in lines)
    assert "USER veneer" in lines


def test_the_start_file_has_windows_ends_and_known_words() -> None:
    raw = (ROOT / "veneer-studio.bat").read_bytes()
    assert raw.count(b"\r\n") == raw.count(b"\n")
    assert b"--workspace studio --browser" in raw
