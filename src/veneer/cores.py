"""Cores that this process may use, counted without loading anything."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores of this process, from 1: containers and schedulers give fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
