"""What a page sends fits its field, or no handler hears of it; the fault bench walks every handler."""

from __future__ import annotations

import math
from typing import Any

import pytest

ODD: tuple[Any, ...] = (
    True,
    7,
    math.nan,
    math.inf,
    10**30,
    "a\ud800",
    "x",
    [],
    ["x"],
    [7],
    {},
    {"a": 1},
    None,
    ["a", ["b"]],
    ["a", [7]],
    ["a"],
)


def parts() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Fields, and what of the odd values they can hold."""
    from veneer.web.server.engine import gr

    return {
        "text": (gr.Textbox(), ("x", None)),
        "one of a list": (gr.Dropdown([]), ("x", None)),
        "some of a list": (gr.Dropdown([], multiselect=True), ([], ["x"], None, ["a"])),
        "number": (gr.Number(), (7, None)),
        "tick": (gr.Checkbox(), (True, None)),
        "hidden": (gr.JSON(), (True, 7, "x", [], ["x"], [7], {}, {"a": 1}, None, *ODD[-3:])),
        "hidden, of a form": (gr.JSON(["", []]), (["a", ["b"]],)),
        "hidden, by names": (gr.JSON({}), ({}, {"a": 1}, None)),
    }


KINDS = (
    "text",
    "one of a list",
    "some of a list",
    "number",
    "tick",
    "hidden",
    "hidden, of a form",
    "hidden, by names",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_holds_what_it_can_hold(with_gradio: None, kind: str) -> None:
    from veneer.web.server.values import fits

    part, held = parts()[kind]
    found = [value for value in ODD if fits(part, value)]
    assert [repr(value) for value in found] == [
        repr(value)
        for value in ODD
        if any(value is one or (value == one and type(value) is type(one)) for one in held)
    ]


def test_no_handler_hears_of_what_cannot_stand_there(with_gradio: None) -> None:
    from veneer.web.server.engine import gr
    from veneer.web.server.values import look_at_values

    heard: list[Any] = []

    def flow(value: Any) -> Any:
        heard.append(value)
        yield value

    with gr.Blocks() as page:
        text, button = gr.Textbox(label="Name"), gr.Button()
        button.click(heard.append, [text], None)
        button.click(flow, [text], [text])
    look_at_values(page)
    plain, flowing = (function.fn for function in page.fns.values())
    with pytest.raises(gr.Error, match="Name: no such value"):
        plain(["x"])
    with pytest.raises(gr.Error, match="Name: no such value"):
        next(flowing("\ud800"))
    assert not heard
    plain("x")
    assert next(flowing(None)) == "", "an empty text is a text"
    assert heard == ["x", ""]


def test_a_caption_that_nobody_changed_stays_unchanged(with_gradio: None) -> None:
    from veneer.web.server.engine import gr
    from veneer.web.server.values import look_at_values
    from veneer.web.tabs.dataset.view import build_cards

    heard: list[Any] = []
    with gr.Blocks() as page:
        cards = build_cards()
        cards.texts[3].blur(heard.append, [cards.texts[3]], None)
    look_at_values(page)
    (function,) = (one.fn for one in page.fns.values())
    function(None)
    assert heard == [None], "no text at all, or what a person wrote would be replaced by nothing"
