"""``python -m veneer``, and the program ``veneer``: the command line."""

import sys

from veneer.errors import EXIT_INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C is heard while it is still being loaded."""
    try:
        from veneer.cli import main as run
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
