"""Addresses within the page: ``?tab=compare&run=NAME`` opens a tab with a run, and follows what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from veneer.web import markup
from veneer.web.server.engine import gr
from veneer.web.studio import Studio

TABS = ("dataset", "recipe", "train", "compare", "runs")
"""Names of the tabs in addresses."""
ASK_ADDRESS = (
    "(query, asked) => window.late.ask([Object.fromEntries(new URLSearchParams(location.search)), asked])"
)
"""What stands behind the question mark goes to the handler, in the first input's place."""


def address_of(run: str, tab: str) -> str:
    """Where a tab shows a run, ready to stand in HTML."""
    return markup.escaped(f"?{urlencode({'tab': tab, 'run': run})}")


def link(run: str, tab: str) -> str:
    """A link to a run, as HTML."""
    return f'<a href="{address_of(run, tab)}">{markup.escaped(run)}</a>'


def asked_for(studio: Studio, query: Mapping[str, str]) -> tuple[Any, Any, Any, Any]:
    """What an address asks to be shown; a tab or run that does not exist changes nothing.

    Args:
        query: Words by key, as they stand behind the question mark.

    Returns:
        Updates of the tabs, of the runs shown on Train and Compare, and of Train's clock, which no tab opened
        by the page itself starts. It is never stopped: a person may have opened Train since the question.
    """
    tab, run = (str(query.get(key, "")) for key in ("tab", "run"))
    names = studio.run_names()
    shown = gr.update(choices=names, value=run) if run in names else gr.skip()
    opened = gr.Tabs(selected=tab) if tab in TABS else gr.skip()
    return opened, shown, shown, gr.Timer(active=True) if tab == "train" else gr.skip()
