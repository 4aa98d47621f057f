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


MOST_FIELD_BYTES = 65_536
"""Largest field of an upload that is no file: Gradio would keep it in memory, whatever its size."""


def refuse_large_fields(parser: Any) -> None:
    """Have Gradio's reader of uploads refuse large fields that are no files.

    Args:
        parser: The reader's class.
    """
    take = parser.on_part_data

    def on_part_data(self: Any, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > MOST_FIELD_BYTES:
            raise MultiPartException("A field exceeded the maximum allowed size.")
        take(self, data, start, end)

    parser.on_part_data = on_part_data


try:
    with without_stub_files():
        import gradio as gr
        from gradio.route_utils import GradioMultiPartParser, MultiPartException
except ModuleNotFoundError as error:
    raise VeneerError(
        f"the studio needs Gradio, which is not installed ({error.name})",
        todo="Install it with: pip install 'veneer[web]'",
    ) from error

refuse_large_fields(GradioMultiPartParser)

__all__ = ["gr"]
