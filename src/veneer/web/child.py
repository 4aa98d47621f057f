"""A run as a process of its own: the command line, deaf to nothing.

``python -m veneer.web.child run RECIPE --out RUN`` is ``veneer run RECIPE --out RUN``; only Ctrl-C's signal
is switched on first, which a studio started in the background would have handed down switched off.
"""

from __future__ import annotations

import signal
import sys

from veneer.errors import EXIT_INTERRUPTED

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from veneer.cli import main
    except KeyboardInterrupt:  # stopped while the libraries are loaded
        sys.exit(EXIT_INTERRUPTED)
    main(sys.argv[1:])
