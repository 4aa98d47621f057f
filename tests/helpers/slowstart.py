"""A job whose module takes longer to import than the job may take."""

from __future__ import annotations

import time

time.sleep(1.5)


def double(number: int) -> int:
    return 2 * number
