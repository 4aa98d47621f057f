"""Addresses within the page: ``?tab=compare&run=NAME`` opens a tab with a run, and follows what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from veneer.web import markup
from veneer.web.server.engine import gr
from veneer.web.studio import Studio

ASK_ADDRESS = (
    "(query, asked) => window.late.ask([Object.fromEntries(new URLSearchParams(location.search)), asked])"
)
"""What stands behind the question mark goes to the handler, in the first input's place."""
OPEN_ASKED = "() => window.address.openAsked()"
OPEN_TRAIN = "() => window.address.open('train')"
IS_TRAIN = "() => ({ __type__: 'update', active: window.address.shown() === 'train' })"
"""An update of the clock of the tab Train, by what is looked at when it is made: no answer can be late."""


def address_of(run: str, tab: str) -> str:
    """Where a tab shows a run, ready to stand in HTML."""
    return markup.escaped(f"?{urlencode({'tab': tab, 'run': run})}")


def link(run: str, tab: str) -> str:
    """A link to a run, as HTML."""
    return f'<a href="{address_of(run, tab)}">{markup.escaped(run)}</a>'


def asked_for(studio: Studio, query: Mapping[str, str]) -> tuple[Any, Any]:
    """What an address asks to be shown; a run that does not exist changes nothing.

    The tab is the browser's to open: a person may have opened another one since the question.

    Args:
        query: Words by key, as they stand behind the question mark.

    Returns:
        Updates of the runs shown on Train and Compare.
    """
    run = str(query.get("run", ""))
    names = studio.run_names()
    shown = gr.update(choices=names, value=run) if run in names else gr.skip()
    return shown, shown
