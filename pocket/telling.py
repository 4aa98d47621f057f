"""What a stage says while it works: one line, with the time of day and its name."""

import time


def tell(stage: str, words: str) -> None:
    """Print a line at once, whole among those of the stages that run beside it."""
    print(f"{time.strftime('%H:%M:%S')} {stage}: {words}\n", end="", flush=True)
