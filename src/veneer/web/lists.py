"""Lists to choose from: what they offer changes with the workspace, what the user chose stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from veneer.web.engine import gr


def offered(names: Sequence[str], chosen: str | None, first: str | None = None) -> Any:
    """What a list offers now.

    A choice that still stands is not sent back: it may have been changed while the answer was on its way.

    Args:
        names: What there is.
        chosen: What is chosen.
        first: What is chosen where that is gone; the first name by default.

    Returns:
        An update of the list.
    """
    if chosen in names:
        return gr.update(choices=names)
    return gr.update(choices=names, value=first or next(iter(names), None))
