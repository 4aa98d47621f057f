"""Keeps diffusers and transformers from telling of what is meant to be so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


def hide_progress_bars() -> None:
    """No bars of transformers' own from here on: what is done is told by events."""
    transformers_logging.disable_progress_bar()


@contextlib.contextmanager
def quiet_libraries(level: int = logging.ERROR) -> Iterator[None]:
    """Within the block both libraries say nothing below a level; then they speak as before, come what may."""
    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity(level)
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
