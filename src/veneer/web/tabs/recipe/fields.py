"""A recipe as fields of a form, made from the config model itself: text on the page, values in a recipe."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from veneer.config import Recipe, contradiction_in
from veneer.errors import VeneerError
from veneer.recipe import toml_value
from veneer.web.tabs.recipe.meanings import KEY_MEANINGS

FieldKind = Literal["flag", "choice", "number", "text", "lines", "numbers", "pairs"]
UPFRONT = tuple(KEY_MEANINGS)
"""What matters before anything else; every other key is folded away."""
AS_TEXT = frozenset({"train.seed"})
"""Numbers that may be larger than a browser can count."""


@dataclass(frozen=True)
class Field:
    """A key of a recipe.

    Attributes:
        key: Its name in the table.
        kind: How it is written on the page.
        choices: What can be chosen, for the kind "choice".
        is_optional: Whether it may be none.
        sentence: What it means, with range and default.
    """

    table: str
    key: str
    kind: FieldKind
    choices: tuple[str, ...]
    is_optional: bool
    default: Any
    sentence: str

    @property
    def name(self) -> str:
        """Its full name, such as "train.seed"."""
        return f"{self.table}.{self.key}"

    def shown(self, value: Any) -> Any:
        """Write a value for the page.

        Args:
            value: As the recipe has it.

        Returns:
            Text, or the value itself for flags and numbers.
        """
        match self.kind:
            case "flag":
                return bool(value)
            case "number" if self.name not in AS_TEXT:
                return value
            case "lines":
                return value if isinstance(value, str) else "\n".join(value)
            case "numbers":
                return ", ".join(str(number) for number in value or ())
            case "pairs":
                return "\n".join(f"{key} = {one}" for key, one in value.items())
        if value is None:
            return "none" if self.kind == "choice" else ""
        return f"{value:g}" if isinstance(value, float) else str(value)

    def read(self, shown: Any) -> Any:
        """Read what stands on the page.

        Args:
            shown: Text, or a value for flags and numbers.

        Returns:
            A value for the recipe; what cannot be read stays text, which the config model refuses by name.
        """
        if self.kind == "flag":
            return bool(shown)
        text = str(shown if shown is not None else "").strip()
        if self.is_optional and text.lower() in {"", "none"}:
            return None
        match self.kind:
            case "number":
                return _number(text)
            case "lines":
                lines = [line.strip() for line in text.splitlines() if line.strip()]
                return lines[0] if len(lines) == 1 and lines[0] in self.choices else lines
            case "numbers":
                return [_number(word) for word in re.split(r"[\s,;]+", text) if word]
            case "pairs":
                return dict(_pair(line) for line in text.splitlines() if line.strip())
        return text


def fields() -> list[Field]:
    """Every key of a recipe, in the order of the config model."""
    found = []
    for table, entry in Recipe.model_fields.items():
        assert isinstance(entry.default, BaseModel)
        model = type(entry.default)
        found += [_field(table, key, model) for key in model.model_fields]
    return found


def values_of(recipe: Recipe, asked: Sequence[Field]) -> list[Any]:
    """What a recipe's fields show."""
    return [field.shown(getattr(getattr(recipe, field.table), field.key)) for field in asked]


def read_form(asked: Sequence[Field], shown: Sequence[Any]) -> tuple[Recipe | None, Mapping[str, str]]:
    """Read a form.

    Args:
        shown: What stands in each.

    Returns:
        The recipe, or None where something does not fit; and what is wrong, by field.
    """
    tables: dict[str, dict[str, Any]] = {}
    for field, value in zip(asked, shown, strict=True):
        tables.setdefault(field.table, {})[field.key] = field.read(value)
    try:
        return Recipe.model_validate(tables), {}
    except ValidationError as error:
        return None, _faults(error)


def _faults(error: ValidationError) -> dict[str, str]:
    faults: dict[str, str] = {}
    for one in error.errors():
        if told := contradiction_in(dict(one)):
            faults.setdefault(told.key, str(told))
            continue
        place = [str(part) for part in one["loc"]]
        text = f"{one['msg']}, got {one['input']!r}"
        faults.setdefault(".".join(place[:2]), text)
    return faults


def _field(table: str, key: str, model: type[BaseModel]) -> Field:
    info = model.model_fields[key]
    kind, choices, is_optional = _kind(info.annotation)
    default = info.get_default(call_default_factory=True)
    field = Field(table, key, kind, choices, is_optional, default, "")
    sentence = " ".join([(info.description or "").replace("`", ""), _range(info.metadata), _default(field)])
    return Field(table, key, kind, choices, is_optional, default, " ".join(sentence.split()))


def _holds_numbers(option: Any) -> bool:
    """Whether the items of a tuple are numbers, with or without a range."""
    items = [get_args(item)[0] if get_origin(item) is Annotated else item for item in get_args(option)]
    return bool({int, float} & set(items))


def _kind(annotation: Any) -> tuple[FieldKind, tuple[str, ...], bool]:
    options = [annotation]
    if get_origin(annotation) in {Union, types.UnionType}:
        options = list(get_args(annotation))
    is_optional = type(None) in options
    options = [option for option in options if option is not type(None)]
    choices = tuple(
        str(word) for option in options for word in get_args(option) if get_origin(option) is Literal
    )
    origins = {get_origin(option) or option for option in options}
    if tuple in origins:
        numbers = any(get_origin(option) is tuple and _holds_numbers(option) for option in options)
        return ("numbers" if numbers else "lines"), choices, is_optional
    if dict in origins:
        return "pairs", (), is_optional
    if choices:
        return "choice", ("none", *choices) if is_optional else choices, is_optional
    if bool in origins:
        return "flag", (), is_optional
    return ("number" if origins & {int, float} else "text"), (), is_optional


def _range(metadata: Sequence[Any]) -> str:
    words = []
    for name, text in (("ge", "from {}"), ("gt", "above {}"), ("le", "to {}"), ("lt", "below {}")):
        words += [text.format(f"{getattr(one, name):g}") for one in metadata if hasattr(one, name)]
    words += [f"in steps of {one.multiple_of}" for one in metadata if hasattr(one, "multiple_of")]
    return f"Range: {', '.join(words)}." if words else ""


def _default(field: Field) -> str:
    shown = "" if field.default is None else field.shown(field.default)
    if field.kind == "flag":
        return f"Default: {'on' if shown else 'off'}."
    shown = f"{shown:g}" if isinstance(shown, float) else shown
    text = " / ".join(str(shown).splitlines())
    return f"Default: {text if len(text) < 80 else text[:77] + '...'}." if text else "Default: none."


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _pair(line: str) -> tuple[str, Any]:
    key, _, text = line.partition("=")
    try:
        value = toml_value(text.strip())
    except (ValueError, VeneerError):
        value = text.strip()
    return key.strip().strip('"'), value
