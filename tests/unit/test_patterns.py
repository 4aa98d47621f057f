"""Patterns of strangers fit what `re` says they fit, and always come to an end."""

from __future__ import annotations

import ast
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

import veneer
from veneer.errors import VeneerError
from veneer.patterns import pattern, plain_name

NAMES = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k",
    "mid_block.resnets.0.conv1",
    "to_out.0",
    "a",
    "",
    "aaaa",
    "ab",
    "text_model.encoder.layers.11.self_attn.q_proj",
    "up_blocks.1.to_q",
    "b.a-b_c",
    "a.b.c",
)
USED = (
    "to_k",
    "^to_k$",
    r"attn1\.to_[kq]$",
    r"down_blocks\.\d+\..*",
    "(attn1|attn2).to_(q|k)",
    "mid.*(conv1|conv2)",
    "a*",
    "a+b?",
    "(ab|a)(c|bcd)?",
    "[^.]+",
    "(?:a|b)*",
    "a{2,3}",
    "a{2}",
    "a{1,}",
    "^a|b$",
    "x?y?z?",
    r"\w+-\w+",
    ".",
    "^",
    "$",
    "",
    "(a*)*",
    "(a|)+",
    ".*?b",
    r"[\d_]+",
    "[]a]",
    "[a-]",
)
EVIL = (
    "(a+)+$x",
    "(.*a){25}x",
    "(a|a)*b",
    "(.*)*(.*)*(.*)*x",
    "((((a{999}){999}){999}){999})",
    "(?R)?a",
    r"\1(a)",
    "(" * 5000 + ")" * 5000,
    "(" * 400 + "a" + ")" * 400,
    "a|" * 5000,
    "[a-z" * 100,
    "a**",
    "(?=a)a",
    "(?P<n>a)",
    "a{3,2}",
    "(",
    ")",
    "[",
    "\\",
    "*",
    "(a?){100}a{100}",
    "(x+x+)+y",
    r"(\w+\s?)*$!",
    "(a|aa|aaa)*" * 60,
    ".*" * 400 + "x",
)


@pytest.mark.parametrize("text", USED)
def test_what_fits_is_what_re_says(text: str) -> None:
    for name in NAMES:
        assert pattern(text).searches(name) == bool(re.search(text, name)), name
        assert pattern(text).begins(name) == bool(re.match(text, name)), name
        own = any(re.fullmatch(text.lstrip("^"), name[at:]) for at in starts(name))
        if "^" not in text:
            assert pattern(text).ends(name) == own, name


def starts(name: str) -> list[int]:
    return [0, *(at + 1 for at, letter in enumerate(name) if letter == ".")]


def test_random_patterns_fit_what_re_says() -> None:
    draw = random.Random(7)
    pieces = ("a", "b", ".", "[ab]", "(a|b)", "(ab)*", "a+", "b?", "(a|b)+", "a{1,2}", "^", "$", "(?:b|)")
    for _ in range(400):
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 6)))
        name = "".join(draw.choice("ab") for _ in range(draw.randint(0, 7)))
        assert pattern(text).searches(name) == bool(re.search(text, name)), (text, name)
        assert pattern(text).begins(name) == bool(re.match(text, name)), (text, name)


@pytest.mark.parametrize("text", EVIL, ids=lambda text: text[:20])
def test_no_pattern_takes_long(text: str) -> None:
    names = [*NAMES, "a" * 500, "down_blocks.0." + "a" * 100 + "!"]
    began = time.process_time()
    try:
        for name in names:
            pattern(text).searches(name), pattern(text).begins(name), pattern(text).ends(name)
    except VeneerError as error:
        assert len(str(error)) < 400
    assert time.process_time() - began < 8


def test_names_are_told_from_patterns() -> None:
    assert plain_name(r"^down_blocks\.0\.to_k") == "down_blocks.0.to_k"
    assert plain_name("to_out.0") == "to_out.0"
    assert [plain_name(text) for text in (".*", "a|b", "(a)", r"\d", "[a]", "a" * 2000)] == [None] * 6


def test_no_pattern_of_a_stranger_reaches_re() -> None:
    """Every call of `re` in the package has a pattern of ours, and what is put into it is escaped."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        call: Any
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if is_re(call) and not is_ours(call.args[0]):
                found.setdefault(path.relative_to(SOURCE).as_posix(), []).append(ast.unparse(call.args[0]))
    assert found == {
        "models/families/strangers.py": ["pattern"],
        "training/profile.py": ["pattern"],
    }  # lists of constants there


SOURCE = Path(veneer.__file__).parent


def is_re(node: Any) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re" | "regex" | "fnmatch"), attr=name)):
            return name != "escape" and bool(node.args)
    return False


def is_ours(node: ast.AST) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.JoinedStr():
            return all(is_ours(part) for part in node.values)
        case ast.FormattedValue(value=ast.Call(func=ast.Attribute(attr="escape"))):
            return True
        case ast.BinOp():
            return is_ours(node.left) and is_ours(node.right)
        case ast.Call(func=ast.Attribute(attr="join", value=ast.Constant())):
            return True
    return isinstance(node, ast.Name) and node.id.isupper()
