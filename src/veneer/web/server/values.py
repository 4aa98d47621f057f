"""What a page sends: values of the kind that each field holds, or no handler is called.

Gradio checks some of it and hands the rest on; a program that sends what no page does is told so here, once
for all handlers.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from veneer.web.server.engine import gr

LARGEST = 2**53
"""Beyond it a browser's numbers are not whole."""
DEEPEST = 6
CAPTIONS = "caption-"
"""How the names of the fields below pictures begin."""


def look_at_values(page: Any) -> None:
    """Have every handler of a page called with fitting values only.

    Args:
        page: Gradio's blocks.
    """
    for function in page.fns.values():
        if function.fn and function.inputs:
            function.fn = _looking(function.fn, function.inputs)


def fits(part: Any, value: Any) -> bool:
    """Whether a field can hold a value."""
    match part:
        case gr.Dropdown() if part.multiselect:
            return value is None or (isinstance(value, list) and all(map(_is_text, value)))
        case gr.Textbox() | gr.Dropdown() | gr.Radio():
            return value is None or _is_text(value)
        case gr.Number() | gr.Slider():
            return value is None or _is_number(value)
        case gr.Checkbox():
            return value is None or isinstance(value, bool)
        case gr.BrowserState():
            return _is_plain(value, DEEPEST)
        case gr.JSON():
            return _is_plain(value, DEEPEST) and (part.value is None or _is_alike(part.value, value))
    return True


def _looking(handler: Callable[..., Any], parts: Sequence[Any]) -> Callable[..., Any]:
    def looked_at(values: Sequence[Any]) -> list[Any]:
        for part, value in zip(parts, values, strict=False):
            if not fits(part, value):
                name = getattr(part, "label", None) or getattr(part, "elem_id", None) or "a field"
                raise gr.Error(
                    f"{name}: no such value can stand there; reload the page", print_exception=False
                )
        empty = ["" if _is_of_words(part) else None for part in parts]
        filled = [one if value is None else value for one, value in zip(empty, values, strict=False)]
        return [*filled, *values[len(filled) :]]

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def flow(*values: Any) -> Iterator[Any]:
            yield from handler(*looked_at(values))

        return flow

    @functools.wraps(handler)
    def call(*values: Any) -> Any:
        return handler(*looked_at(values))

    return call


def _is_of_words(part: Any) -> bool:
    """Whether nothing stands for no words; below a picture it says that nobody changed the caption."""
    return isinstance(part, gr.Textbox) and not str(part.elem_id).startswith(CAPTIONS)


def _is_alike(first: Any, value: Any) -> bool:
    """Whether a hidden value has the form of the first one: an empty list stands for texts."""
    match first:
        case []:
            return isinstance(value, list) and all(map(_is_text, value))
        case list():
            is_one = isinstance(value, list) and len(value) == len(first)
            return is_one and all(map(_is_alike, first, value))
        case dict():
            return value is None or isinstance(value, dict)
        case str():
            return _is_text(value)
    return True


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value) and abs(value) <= LARGEST


def _is_plain(value: Any, depth: int) -> bool:
    match value:
        case None | bool():
            return True
        case str():
            return _is_text(value)
        case int() | float():
            return _is_number(value)
        case list():
            return depth > 0 and all(_is_plain(one, depth - 1) for one in value)
        case dict():
            return depth > 0 and all(
                _is_text(key) and _is_plain(one, depth - 1) for key, one in value.items()
            )
    return False
