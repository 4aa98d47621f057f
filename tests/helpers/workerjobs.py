"""Jobs for the worker tests: worker processes import them by name."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from veneer.errors import DatasetError


def double(number: int) -> int:
    """A job that works."""
    return 2 * number


def misbehave(kind: str) -> str:
    """A job of every bad kind."""
    match kind:
        case "hang":
            time.sleep(60)
        case "crash":
            os._exit(11)
        case "refuse":
            raise DatasetError("no good", where="x")
        case "bug":
            raise RuntimeError("a bug")
        case "memory":
            bytearray(2**40)
        case "print":
            print("noise on stdout")
            os.write(1, b"more noise")
            print("noise", file=sys.stderr)
    return kind


def write_late(begun: str, late: str) -> None:
    Path(begun).touch()
    time.sleep(1.5)
    Path(late).touch()
