"""Rows of a table of cases, of which some run by default and the others with the heavy tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest


def heavy_but(quick: Collection[str], cases: Mapping[str, Any]) -> list[Any]:
    """Parameters named as in ``cases``; those not in ``quick`` are heavy.

    Raises:
        AssertionError: If a name in ``quick`` is none of the cases.
    """
    assert set(quick) <= set(cases), set(quick) - set(cases)
    return [
        pytest.param(case, id=name, marks=[] if name in quick else [pytest.mark.heavy])
        for name, case in cases.items()
    ]
