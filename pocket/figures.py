"""The figures of the shipped base, told: ``python -m pocket eval``."""

import json

from .config import Size
from .evaluate import evaluate
from .waiting import wait_for


def tell_figures(size: Size) -> None:
    """Measure what ships, and print a figure for each thing asked."""
    wait_for(size, "export", "judge", "sheet")
    print(json.dumps(evaluate()["summary"], indent=1))
