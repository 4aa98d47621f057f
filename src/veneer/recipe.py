"""Recipes: found by name, read from TOML, overridden by `table.key=value`, written back resolved.

The order is defaults < recipe < overrides. An unknown key is an error that names the nearest one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from veneer.arguments import PathLike, given_texts, wrong_kind
from veneer.config import Recipe, contradiction_in
from veneer.errors import RecipeError
from veneer.own_style import for_own_pictures
from veneer.places import refuse_outside


def bundled_names() -> tuple[str, ...]:
    """Names of the recipes that come with Veneer.

    Returns:
        Names, sorted.
    """
    folder = resources.files("veneer") / "recipes"
    return tuple(sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".toml")))


Overrides = Iterable[str] | Mapping[str, Any]
"""Settings: ``"train.seed=1"`` as the command line has them, ``{"train.seed": 1}``, or a dict of tables."""


def recipe_text(name_or_path: PathLike) -> str:
    """Text of a recipe.

    Args:
        name_or_path: A bundled name, or the path of a TOML file.

    Returns:
        The TOML text with its comments.

    Raises:
        RecipeError: If there is no such recipe or file.
    """
    name_or_path = _name_of(name_or_path)
    if name_or_path in bundled_names():
        return (resources.files("veneer") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(
            "no such recipe",
            where=name_or_path,
            todo=f"Name a .toml file, or one of: {', '.join(bundled_names())}",
        )
    try:
        raw = path.read_bytes()
        is_utf_16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))  # as Windows editors save it
        return raw.decode("utf-16" if is_utf_16 else "utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe cannot be read: {error}", where=name_or_path) from error


def load_recipe(
    name_or_path: PathLike,
    overrides: Overrides = (),
    *,
    pictures: PathLike | Sequence[PathLike] = (),
    style: str = "",
    within: Sequence[Path] = (),
) -> Recipe:
    """Resolve a recipe.

    Args:
        name_or_path: A bundled name, or the path of a TOML file.
        overrides: Settings such as ``{"train.max_train_steps": 2000}`` or ``{"train": {"seed": 1}}``, or as
            the command line has them, ``["train.seed=1"]``: values are TOML, bare words are text. They come
            last.
        pictures: Sources of pictures in place of the recipe's.
        style: What these pictures are, such as "watercolour painting": captions and prompts follow it.
        within: Folders that the recipe may not lead out of; none for no such limit.

    Returns:
        The resolved recipe, frozen.

    Raises:
        RecipeError: For a missing recipe, broken TOML, an unknown key, a value that does not fit, or a path
            outside.
        ArgumentError: If an argument is of another type.
    """
    where = _name_of(name_or_path)
    tables = _tables(recipe_text(where), where=where)
    if not isinstance(style, str):
        raise wrong_kind("style", "words in a string", style)
    if (own := given_texts(pictures, "pictures")) or style:
        tables = for_own_pictures(tables, own, style)
    given = _override(tables, overrides)
    recipe = resolve(tables, where=where, overridden=given)
    if within:
        refuse_outside(recipe, within, where=where)
    return recipe


def recipe_of(given: Recipe | PathLike, overrides: Overrides = ()) -> Recipe:
    """A recipe from what a Python function was handed: one, or its name or file.

    Raises:
        RecipeError: As for `load_recipe`.
        ArgumentError: If it is neither.
    """
    if not isinstance(given, Recipe):
        return load_recipe(given, overrides)
    if not overrides:
        return given
    tables = given.model_dump(exclude_none=True)
    return resolve(tables, overridden=_override(tables, overrides))


def _name_of(given: object) -> str:
    if isinstance(given, (str, os.PathLike)):
        return str(os.fspath(given))
    raise wrong_kind("recipe", "a recipe, its name or its file", given)


def resolve(tables: Mapping[str, Any], where: str = "recipe", overridden: Collection[str] = ()) -> Recipe:
    """Check tables of settings against the model of a recipe.

    Args:
        tables: Settings by table and key.
        where: Name of their origin, for messages.
        overridden: Keys that have another origin: an override.

    Returns:
        The resolved recipe.

    Raises:
        RecipeError: For an unknown key or a value that does not fit; all faults in one message.
    """

    def origin(key: str) -> str:
        return f"--set {key}" if key in overridden else where

    def blamed(text: str) -> str:
        """Where keys that do not go together come from: overrides, if any of them is one."""
        return " and ".join(f"--set {key}" for key in overridden if key in text) or where

    _refuse_large_numbers(tables, origin)
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        faults = []
        for one in error.errors():
            key = ".".join(str(part) for part in one["loc"][:2])
            told = contradiction_in(dict(one))
            faults.append(f"{told}, in {blamed(str(told))}" if told else _fault(dict(one), origin(key)))
        raise RecipeError(
            "; ".join(faults), todo="See `veneer recipes show NAME` or docs/reference"
        ) from error


def to_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML, every key spelled out; keys that are none are left out.

    Returns:
        TOML text that `load_recipe` reads back to an equal recipe.
    """
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def fingerprint(value: Any) -> str:
    """Short hash of settings or other plain data.

    Args:
        value: Anything that JSON can write.

    Returns:
        16 hexadecimal digits, equal for equal data.
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two sets of settings.

    Args:
        old: Settings before.
        new: Settings now.
        prefix: Name of the table, for the lines.

    Returns:
        Lines such as ``train.learning_rate: 0.0001 -> 0.001``.
    """
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return lines


def _override(tables: dict[str, Any], overrides: Overrides) -> list[str]:
    """Put overrides into the tables; their keys."""
    if not isinstance(overrides, Mapping):
        return [_apply_override(tables, one) for one in given_texts(overrides, "overrides")]
    keys: list[str] = []
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise wrong_kind("overrides", 'a dict such as {"train.seed": 1}', key)
        is_table = "." not in key and isinstance(value, Mapping)
        inner = {f"{key}.{name}": one for name, one in value.items()} if is_table else {key: value}
        for name, one in inner.items():
            parts = name.split(".")
            if len(parts) != 2:
                raise RecipeError("not a setting", where=name, todo='Write it as {"table.key": value}')
            tables.setdefault(parts[0], {})[parts[1]] = _plain_paths(one)
            keys.append(name)
    return keys


def _plain_paths(value: Any) -> Any:
    """A value of Python as TOML would give it: paths are text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [_plain_paths(one) for one in value] if isinstance(value, (list, tuple)) else value


def _apply_override(tables: dict[str, Any], override: str) -> str:
    """Put an override into the tables; its key."""
    override = override.strip()
    if override[:1] == override[-1:] == "'":  # cmd.exe hands single quotes on
        override = override[1:-1]
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) != 2:
        raise RecipeError("not a setting", where=override, todo="Write it as table.key=value")
    tables.setdefault(parts[0], {})[parts[1]] = _toml_value(text.strip(), *parts)
    return ".".join(parts)


def _refuse_large_numbers(tables: Mapping[str, Any], origin: Callable[[str], str]) -> None:
    """No setting is larger than 63 bits; Python itself cannot write a number of thousands of digits."""
    left: list[tuple[str, Any]] = [("", tables)]
    while left:
        key, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{key}.{name}".lstrip("."), one) for name, one in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(key, one) for one in value]
        elif isinstance(value, int) and value.bit_length() > 63:
            what = f"`{key}` in {origin('.'.join(key.split('.')[:2]))}: a whole number beyond 2^63"
            raise RecipeError(what, todo="Write a smaller one")


_NESTED = "lists or tables are nested too deeply"


def _tables(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise RecipeError(_NESTED, where=where) from error
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        is_path = "hex value" in str(error) or "escape" in str(error)
        todo = "Write a Windows path in 'single quotes', or with /" if is_path else ""
        raise RecipeError(f"not valid TOML: {error}", where=where, todo=todo) from error


def toml_value(text: str) -> Any:
    """Read one value as TOML writes it.

    Raises:
        ValueError: If it is none, or a number of thousands of digits.
        RecipeError: If it is nested too deeply.
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except RecursionError as error:
        raise RecipeError(_NESTED, where=f"{text[:60]} ...") from error


def _toml_value(text: str, table: str, key: str) -> Any:
    """A value of an override; "none" is no value where the key may be without one, and a word elsewhere."""
    try:
        return toml_value(text)
    except ValueError:
        if text[:1] == "[" and text[-1:] == "]":  # a list whose quotes the shell took, as cmd.exe does
            return [word.strip().strip("'") for word in text[1:-1].split(",") if word.strip()]
        return None if text in {"none", "null"} and _may_be_none(table, key) else text


def _may_be_none(table: str, key: str) -> bool:
    field = Recipe.model_fields.get(table)
    keys = {} if field is None else type(field.default).model_fields
    return key in keys and NoneType in get_args(keys[key].annotation)


def _fault(error: Mapping[str, Any], where: str) -> str:
    path = [str(part) for part in error["loc"]]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.4)
        hint = f", did you mean `{near[0]}`?" if near else ""
        return f"unknown key `{key}` in {where}{hint}"
    return f"`{key}` in {where}: {error['msg'].lower()}, got {_in_short(error['input'])}"


def _in_short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__} that is too large to write"
    return text if len(text) <= 200 else f"{text[:200]} ..."


def known_keys() -> tuple[str, ...]:
    """Every key of a recipe.

    Returns:
        Names such as ``train.seed``, and the tables' own names.
    """
    keys: list[str] = []
    for table, field in Recipe.model_fields.items():
        keys.append(table)
        keys += [f"{table}.{key}" for key in type(field.default).model_fields]
    return tuple(keys)
