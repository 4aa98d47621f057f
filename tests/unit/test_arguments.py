"""Strings, paths and dicts are taken alike; what is neither is told in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import veneer
from veneer.arguments import given_numbers, given_path, given_texts
from veneer.errors import ArgumentError, RecipeError
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir, opened

api: Any = veneer  # as one without types calls it


def test_strings_and_paths_are_the_same_path() -> None:
    assert given_path("runs/a", "out") == given_path(Path("runs/a"), "out") == Path("runs/a")
    assert given_path("~/a", "out") == Path.home() / "a"
    assert RunDir("runs/a") == RunDir(Path("runs/a"))
    assert Dataset("a").images == Path("a/images")
    assert given_texts("a", "sources") == given_texts([Path("a")], "sources") == ("a",)
    assert given_numbers(np.int64(3), "seeds") == given_numbers(range(3, 4), "seeds") == (3,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: api.RunDir(3), "`root` is a path: a string or a pathlib.Path; got 3, which is of type int"),
        (lambda: api.Dataset(""), "`root` is a path"),
        (lambda: api.load_recipe(3), "`recipe` is a recipe, its name or its file; got 3"),
        (lambda: api.load_recipe("pocket-8bit", {3: 1}), "`overrides` is a dict such as"),
        (lambda: api.load_recipe("pocket-8bit", 3), "`overrides` is a string or a list of them"),
        (lambda: api.load_recipe("pocket-8bit", style=7), "`style` is words in a string"),
        (lambda: api.run("pocket-8bit", None), "`out` is a path"),
        (lambda: api.run("pocket-8bit", "a", redo="trian"), "`redo` has 'trian', which there is not"),
        (lambda: api.open_run(b"a"), "`run` is a run, or the path of its folder; got b'a'"),
        (lambda: api.sweep("pocket-8bit", 3, "a"), "`over` is a string or a list of them; got 3"),
        (lambda: api.train({"run": 1}), "`run` is a run"),
        (lambda: api.check(7), "`dataset` is a path"),
        (lambda: api.collect([3], "a"), "`sources` is a string or a list of them; got 3"),
        (lambda: api.draw("pocket", "a cat", seeds=1.5), "`seeds` is a whole number"),
        (lambda: api.draw("pocket", [1]), "`prompts` is a string"),
        (lambda: api.inspect(None), "`path` is a path"),
    ],
)
def test_another_type_is_told_with_the_argument_and_what_it_should_be(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert words in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, veneer.VeneerError)


def test_overrides_are_words_keys_or_tables(tmp_path: Path) -> None:
    spellings: list[Any] = [
        ["train.seed=7", f'collect.sources=["{tmp_path}"]'],
        {"train.seed": 7, "collect.sources": tmp_path},
        {"train": {"seed": 7}, "collect": {"sources": [tmp_path]}},
    ]
    first, *others = (veneer.load_recipe("pocket-8bit", spelling) for spelling in spellings)
    assert first.train.seed == 7 and first.collect.sources == (str(tmp_path),)
    assert all(other == first for other in others)
    words = {"caption.replacements": {"a": "b"}}
    assert veneer.load_recipe(Path("pocket-8bit"), words).caption.replacements == {"a": "b"}
    with pytest.raises(RecipeError, match=r"did you mean `train.seed`"):
        veneer.load_recipe("pocket-8bit", {"train": {"sed": 1}})
    with pytest.raises(RecipeError, match="not a setting"):
        veneer.load_recipe("pocket-8bit", {"seed": 1})


def test_a_stage_takes_a_folder_and_finds_the_recipe_itself(tmp_path: Path) -> None:
    recipe = veneer.load_recipe("pocket-8bit")
    RunDir(tmp_path).write_recipe(recipe)
    assert opened(str(tmp_path)) == (RunDir(tmp_path), recipe)
    assert opened(RunDir(tmp_path), "pocket-8bit")[1] == recipe
