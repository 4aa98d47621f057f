"""Gradio, imported quickly and told to stay on this machine.

Every other file of the studio takes ``gr`` from here, so that what follows holds before Gradio is there.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Iterator
from typing import Any

from veneer.errors import VeneerError

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_SSR_MODE"] = "False"


@contextlib.contextmanager
def without_stub_files() -> Iterator[None]:
    """Keep Gradio from writing type stubs beside its own files each time it is imported.

    That takes half of the import's seconds. Gradio leaves a class alone whose file cannot be found, so its
    own question for the file is answered with an error; everybody else gets the answer.

    Yields:
        Nothing; import inside the block.
    """
    real = inspect.getfile

    def getfile(thing: Any) -> str:
        if sys._getframe(1).f_globals.get("__name__") == "gradio.component_meta":
            raise OSError
        return real(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = real


try:
    with without_stub_files():
        import gradio as gr
except ModuleNotFoundError as error:
    raise VeneerError(
        f"the studio needs Gradio, which is not installed ({error.name})",
        todo="Install it with: pip install 'veneer[web]'",
    ) from error

__all__ = ["gr"]
