"""What of a recipe leads somewhere: every key is walked, so that none is forgotten."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.places import WORD_KEYS, outside, refuse_outside, texts_of
from veneer.recipe import known_keys, load_recipe, resolve

OUT = (
    "/etc/passwd", "/", "..", "../secret", "a/../../secret", "~", "~/.ssh/id_rsa", "~nobody-here/x",
    " /etc/passwd", "/etc/passwd ", "file:///etc/passwd", "https://example.org/model", "led/secret", "a\0b",
)  # fmt: skip
IN = ("owner/name", "pocket", "none", "auto", "datasets/a", "./datasets/a", "a/../b", "", "x.safetensors")
SOURCES_OUT = (
    *(f"{kind}{text}" for kind in ("", "urls:", "hf:") for text in OUT),
    "hf: /etc", "hf:/etc;split=train", "hf: ~/x ;split=train", "hf:../x;image=a",
)  # fmt: skip
SOURCES_IN = ("pocket", "bing:../red houses;size=large", "urls:list.txt", "hf:owner/name;split=a", "folder")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "led").symlink_to(tmp_path)
    return folder


def with_text(key: str, text: str) -> Any:
    """A recipe with a text at a key, whatever form the key has; None where no text fits."""
    table, _, name = key.partition(".")
    for value in (text, [text], {text: 1}, {text: text}):
        try:
            return resolve({table: {name: value}})
        except RecipeError:
            continue
    return None


def keys_with_texts() -> list[str]:
    return [key for key in known_keys() if "." in key and with_text(key, "word") is not None]


def test_every_key_that_takes_texts_is_kept_in_or_known_for_words(root: Path) -> None:
    """A key that is new in the config is kept in by itself; nobody can forget to list it."""
    places = [key for key in keys_with_texts() if key not in WORD_KEYS]
    assert places == ["base.model", "base.vae", "base.revision", "collect.sources", "caption.model",
                      "train.prior_sources", "compare.embedder"]  # fmt: skip
    for key in places:
        for text in SOURCES_OUT if key == "collect.sources" else OUT:
            assert outside(with_text(key, text), [root]) == {key: text}, (key, text)
        for text in SOURCES_IN if key == "collect.sources" else IN:
            assert outside(with_text(key, text), [root]) == {}, (key, text)


def test_words_are_known_keys() -> None:
    assert set(known_keys()) >= WORD_KEYS


def test_two_embedders_are_looked_at_each(root: Path) -> None:
    assert outside(with_text("compare.embedder", "pocket, /etc"), [root])


def test_defaults_and_bundled_recipes_stay_in(root: Path) -> None:
    from veneer.recipe import bundled_names

    for recipe in (Recipe(), *map(load_recipe, bundled_names())):
        refuse_outside(recipe, [root])


def test_texts_in_lists_and_mappings_are_seen() -> None:
    assert sorted(text for _, text in texts_of({"new": {"key": {"a": ["b", {"c": "d"}]}}})) == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_further_folders_and_files_may_be_named(root: Path, tmp_path: Path) -> None:
    recipe = resolve(
        {"base": {"model": str(tmp_path / "models/sd15.safetensors"), "vae": "/vae.safetensors"}}
    )
    assert set(outside(recipe, [root])) == {"base.model", "base.vae"}
    assert set(outside(recipe, [root, tmp_path / "models"])) == {"base.vae"}


def test_a_recipe_is_refused_by_name_where_it_is_read(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "strange.toml"
    path.write_text('[base]\nmodel = "/etc"\n[collect]\nsources = ["/etc/passwd"]\n')
    assert load_recipe(str(path)).collect.sources == ("/etc/passwd",)
    with pytest.raises(
        RecipeError, match=r"`base\.model` leads out .*`collect\.sources` leads out .*strange\.toml"
    ):
        load_recipe(str(path), within=[root])


@pytest.mark.parametrize("key", ["collect.allow_private_addresses"])
def test_what_only_the_command_line_may_say_is_refused_in_every_form_of_a_recipe(
    key: str, tmp_path: Path
) -> None:
    table, _, name = key.partition(".")
    path = tmp_path / "open.toml"
    path.write_text(f"[{table}]\n{name} = true\n")
    tables = tomllib.loads(path.read_text())
    for read in (
        lambda: load_recipe(str(path)),
        lambda: resolve(tables),
        lambda: load_recipe("pocket-8bit", [f"{key}=true"]),
    ):
        with pytest.raises(
            RecipeError, match=rf"{re.escape(key)}.*only the command line.*--allow-private-addresses"
        ):
            read()
    path.write_text(f"[{table}]\n{name} = false\n")  # as every run's recipe.toml has it
    assert load_recipe(str(path)) == Recipe()
