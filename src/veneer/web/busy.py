"""One line at the page's foot: what works, and how long already. Nothing else shows that the page waits.

``busy.js`` draws the line; it appears only where an answer is not there at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

AS_THEY_ARE = "(...inputs) => inputs"


def telling(moment: Callable[..., Any], words: str) -> Callable[..., Any]:
    """The same event, which says what it does until it is answered.

    Args:
        moment: The event, such as ``button.click``.
        words: What it does, such as "Saving the recipe".

    Returns:
        What binds the event, as ``moment`` does.
    """
    said = json.dumps(words)

    def bind(*arguments: Any, js: str = AS_THEY_ARE, **options: Any) -> Any:
        begin = f"(...inputs) => {{ window.busy.begin({said}); return ({js})(...inputs); }}"
        event = moment(*arguments, js=begin, **options)
        event.then(None, js=f"() => window.busy.end({said})")
        return event

    return bind


def without_spinners(page: Any) -> None:
    """Let no part of the page show that it waits: a question about a form has a hundred of them."""
    for function in page.fns.values():
        function.show_progress = "hidden"
