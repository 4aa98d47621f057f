"""``python -m veneer``: the command line."""

from veneer.cli import main

if __name__ == "__main__":
    main()
