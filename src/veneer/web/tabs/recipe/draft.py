"""What a person changed in the form and has not saved: kept by the browser, for the next load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from veneer.errors import VeneerError
from veneer.recipe import load_recipe
from veneer.web.server.engine import gr
from veneer.web.studio import DEMO, Studio
from veneer.web.tabs.recipe.fields import Field, values_of

Draft = Mapping[str, Any]
"""``start``: the starting point; ``changed``: what stands in the fields that differ from it, by name."""


def store(studio: Studio) -> Any:
    """Where the browser keeps the draft of this workspace; nothing in it is secret, and the key says so."""
    place = hashlib.sha256(str(studio.workspace.root).encode()).hexdigest()[:16]
    return gr.BrowserState(None, storage_key=f"veneer-recipe-{place}", secret="veneer")


def draft_of(studio: Studio, start: str | None, asked: Sequence[Field], shown: Sequence[Any]) -> Draft:
    """What differs from the starting point."""
    first = _first(studio, start, asked)
    changed = {f.name: one for f, one, before in zip(asked, shown, first, strict=True) if one != before}
    return {"start": start or DEMO, "changed": changed}


def values_in(studio: Studio, draft: Any, asked: Sequence[Field]) -> tuple[str, list[Any]] | None:
    """The starting point of a draft and what stands in the fields; None where nothing is to come back.

    A browser keeps what it was given, by whatever version: what fits no field is left aside.
    """
    if not isinstance(draft, Mapping) or not isinstance(changed := draft.get("changed"), Mapping):
        return None
    start = str(draft.get("start") or DEMO)
    if start not in studio.workspace.recipe_names():
        start = DEMO
    if start == DEMO and not changed:
        return None
    first = _first(studio, start, asked)
    kept = [
        changed[f.name] if f.name in changed and _fits(f, changed[f.name]) else before
        for f, before in zip(asked, first, strict=True)
    ]
    return start, kept


def _fits(field: Field, value: Any) -> bool:
    """Whether a value can stand in a field; an emptied number is none."""
    match field.shown(field.default):
        case bool():
            return isinstance(value, bool)
        case str():
            return isinstance(value, str)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _first(studio: Studio, start: str | None, asked: Sequence[Field]) -> list[Any]:
    try:
        spelled = studio.workspace.recipe(start or DEMO)
        path = str(studio.workspace.root / spelled) if spelled.endswith(".toml") else spelled
        return values_of(load_recipe(path), asked)
    except VeneerError:
        return values_of(load_recipe(DEMO), asked)
