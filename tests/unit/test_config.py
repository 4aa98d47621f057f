"""Each choice of a recipe has one home."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import veneer


def test_no_choice_is_written_out_twice() -> None:
    source = Path(veneer.__file__).parent
    found: Counter[tuple[str, ...]] = Counter()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal":
                words = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                found[tuple(ast.unparse(word) for word in words)] += 1
    assert found
    assert [words for words, count in found.items() if count > 1 and len(words) > 2] == []
