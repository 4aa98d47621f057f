"""What handlers say: every error becomes a message on the page, with what to do next."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from typing import Any

from veneer.errors import DISK_FULL, NO_PATH, VeneerError, is_disk_full
from veneer.text import shown
from veneer.web import markup


def describe(error: BaseException) -> str:
    """Turn an error into a message.

    Args:
        error: Whatever a handler raised.

    Returns:
        HTML: what is wrong, where, and what to do.
    """
    match error:
        case VeneerError():
            where = f" ({error.where})" if error.where else ""
            return markup.failure(f"{error.what}{where}", error.todo)
        case OSError() if is_disk_full(error):
            return markup.failure(DISK_FULL, "Free some space, then press the button again")
        case OSError() if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return markup.failure(
                f"no permission ({error.filename})", "Choose a workspace that you may write to"
            )
        case OSError() if error.errno in NO_PATH:
            return markup.failure(f"no usable path: {str(error.filename)[:80]}", "Name another file")
    print(shown("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    name = f"{type(error).__name__}: {error}"
    return markup.failure(f"a bug of ours: {name}", "The terminal that runs the studio shows where")


def guarded(handler: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
    """Wrap a handler whose last output is a message.

    Args:
        handler: Returns a tuple; its last value is HTML.
        otherwise: What the other outputs get where it fails: a tuple.

    Returns:
        A handler that never raises.
    """

    def call(*values: Any) -> Any:
        try:
            return handler(*values)
        except Exception as error:
            return (*otherwise, describe(error)) if otherwise else describe(error)

    return call
