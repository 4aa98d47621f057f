"""Answers that come late: what a person typed or chose since the question was asked stays.

Every handler that writes into fields is bound here. Its values do not go into the fields at once: they go to
the browser as one answer, with the moment of its question, and ``late.js`` puts each into its field where
nothing newer stands. What is no value (choices, ranges, marks) and what nobody can change goes as ever.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any

from veneer.web.server.engine import gr

ASK = "(...inputs) => window.late.ask(inputs)"
PUT = "(answer) => window.late.settle(answer)"

TOLD = ("value", "of", "lasting", "saved", "preset")
"""What of an update the browser decides on."""


def bind(
    moment: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Sequence[Any] | None,
    outputs: Sequence[Any],
    *,
    unless: Sequence[Any] = (),
    line: str | None = None,
    ask: str = ASK,
    **options: Any,
) -> Any:
    """Have an event answered, as Gradio does it, but for what a person changed meanwhile.

    Args:
        moment: The event, such as ``button.click``.
        handler: Gives one value or update for each output; a generator may give them several times.
        inputs: Parts whose values it is given.
        outputs: Parts that it writes to; the fields among them have an ``elem_id``.
        unless: Fields that the answer is about: where one was changed since, no field gets a value.
        line: Questions of the same line are answered one after the other, as they were asked.
        ask: What the browser does with the inputs first.
        **options: Passed on to Gradio.

    Returns:
        The event of the answer having been put in place; another one may follow by its ``then``.
    """
    answer = gr.JSON(visible=False)
    asked = [*(inputs or ()), answer]
    named = [part.elem_id for part in unless]
    event = moment(
        _answering(handler, outputs, named), asked, [*outputs, answer], js=ask, concurrency_id=line, **options
    )
    return event.then(None, [answer], [part for part in outputs if is_field(part)], js=PUT)


def mark(
    moment: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Sequence[Any] | None,
    outputs: Sequence[Any],
    *,
    line: str | None = None,
    **options: Any,
) -> Any:
    """Have an event answered that leaves what stands in fields alone: it changes marks, or what is offered.

    Args:
        moment: The event, such as ``button.click``.
        handler: Gives one value or update for each output, none of them a field's value.
        inputs: Parts whose values it is given.
        outputs: Parts that it writes to.
        line: Questions of the same line are answered one after the other, as they were asked.
        **options: Passed on to Gradio.

    Returns:
        Gradio's event.
    """

    def marked(*values: Any) -> Any:
        given = handler(*values)
        for part, update in zip(outputs, [given] if len(outputs) == 1 else given, strict=True):
            assert not is_field(part) or "value" not in _update(update), part
        return given

    return moment(marked, inputs, [*outputs], concurrency_id=line, **options)


def is_field(part: Any) -> bool:
    """Whether a person can change a part of the page, or it goes along with parts that a person changes.

    Returns:
        True for texts, lists, ticks, numbers, files and what is hidden in the page.
    """
    return isinstance(part, gr.components.FormComponent | gr.File | gr.JSON) and not part.stateful


def about(update: dict[str, Any], subject: str) -> dict[str, Any]:
    """Say what a field is about: what was typed for one thing is never shown or kept as another one's.

    Args:
        update: The field's update, with a value.

    Returns:
        The update.
    """
    return {**update, "of": subject}


def lasting(update: dict[str, Any]) -> dict[str, Any]:
    """Say that what a person typed stays, however old it is, until it is `saved` or the field's subject goes.

    Args:
        update: The field's update, with a value.

    Returns:
        The update.
    """
    return {**update, "lasting": True}


def saved(value: Any, subject: str) -> dict[str, Any]:
    """Say that what a person typed into a field is kept; nothing changes where its subject is gone by now.

    Args:
        value: As it was kept.
        subject: What it is about.

    Returns:
        The field's update.
    """
    return {**about(gr.update(value=value), subject), "saved": True}


def unsaved(field: Any) -> str:
    """How a question is asked whose last input is a field: None where nothing in it waits to be `saved`.

    Returns:
        What the browser does with the inputs.
    """
    value = f"window.late.unsaved({json.dumps(field.elem_id)}, inputs.at(-2))"
    return f"(...inputs) => window.late.ask([...inputs.slice(0, -2), {value}, inputs.at(-1)])"


def script() -> str:
    """The browser's part, for the page's head: late answers, keys of the blind vote, and addresses.

    Returns:
        HTML.
    """
    parts = (
        (resources.files("veneer.web") / "browser" / name).read_text("utf-8")
        for name in ("late.js", "vote.js", "address.js", "busy.js")
    )
    return "".join(f"<script>{part}</script>" for part in parts)


def _answering(handler: Callable[..., Any], outputs: Sequence[Any], unless: list[str]) -> Callable[..., Any]:
    """A handler that is given the moment of its question too, and gives its fields' values apart."""
    fields = [place for place, part in enumerate(outputs) if is_field(part)]

    def parted(given: Any, asked: int) -> list[Any]:
        updates = [given] if len(outputs) == 1 else list(given)
        values: list[dict[str, Any]] = []
        for at, place in enumerate(fields):
            rest = _update(updates[place])
            told = {key: rest.pop(key) for key in TOLD if key in rest}
            if "value" in told:
                values.append({"at": at, "id": outputs[place].elem_id, **told})
            updates[place] = rest
        return [*updates, {"asked": asked, "unless": unless, "count": len(fields), "values": values}]

    if inspect.isgeneratorfunction(inspect.unwrap(handler)):

        def flow(*values: Any) -> Iterator[list[Any]]:
            for given in handler(*values[:-1]):
                yield parted(given, values[-1])

        return flow

    def call(*values: Any) -> list[Any]:
        return parted(handler(*values[:-1]), values[-1])

    return call


def _update(given: Any) -> dict[str, Any]:
    """What a handler gave for a field, as an update."""
    if isinstance(given, dict) and "__type__" in given:
        return dict(given)
    return {"__type__": "update", "value": given}


def offered(names: Sequence[str], chosen: str | None, first: str | None = None) -> Any:
    """What a list offers now.

    A choice that still stands is not sent back: it may have been changed while the answer was on its way.
    What is chosen for want of a choice never writes over one that came meanwhile, by hand or by an answer.

    Args:
        first: What is chosen where that is gone; the first name by default.

    Returns:
        An update of the list.
    """
    if chosen in names:
        return gr.update(choices=names)
    return {**gr.update(choices=names, value=first or next(iter(names), None)), "preset": True}
