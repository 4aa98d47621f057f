"""A run as a process of its own: the command line, deaf to nothing.

``python -m veneer.cli.child run RECIPE --out RUN`` is ``veneer run RECIPE --out RUN``; only Ctrl-C's signal
is switched on first, which a studio started in the background would have handed down switched off, and the
run gives way to the page: it takes every core that nobody else wants.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from veneer.errors import EXIT_INTERRUPTED

GIVES_WAY = 10
"""Niceness of a run."""


def give_way() -> None:
    """Let everybody else on the machine go first, where the system knows of that."""
    if hasattr(os, "nice"):
        os.nice(GIVES_WAY)
    with contextlib.suppress(OSError):  # Linux weighs sessions against each other first, and a run is one
        Path("/proc/self/autogroup").write_text(str(GIVES_WAY), "ascii")


if __name__ == "__main__":
    give_way()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from veneer.cli import main
    except KeyboardInterrupt:  # stopped while the libraries are loaded
        sys.exit(EXIT_INTERRUPTED)
    main(sys.argv[1:])
