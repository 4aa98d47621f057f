"""``veneer ui``: the studio, a page in the browser."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer


def ui(
    workspace: Annotated[
        Path, typer.Option("--workspace", metavar="DIR", help="Folder of data sets, recipes and runs.")
    ] = Path("studio"),
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 for a free one.")
    ] = 7860,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen at; another needs $VENEER_PASSWORD set."
        ),
    ] = "127.0.0.1",
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow",
            metavar="PATH",
            help="A folder or file outside the workspace that recipes may name, such as one of base models; "
            "may be given often.",
        ),
    ] = None,
) -> int:
    """Open the studio: data sets, recipes, training and comparison in a page of the browser.

    Needs the extra `web` (pip install 'veneer[web]'). The page loads nothing from other hosts.
    """
    gc.disable()  # what is made while it starts stays; to look for what does not takes a tenth of the time
    from veneer.web.app import open_studio

    try:
        password = os.environ.get("VENEER_PASSWORD", "")
        open_studio(workspace, host=host, port=port, password=password, also=allow or (), on_ready=_say)
    finally:
        gc.enable()
    return 0


def _say(address: str) -> None:
    gc.freeze()
    gc.enable()
    typer.echo(f"The studio is at {address} - Ctrl-C ends it; runs go on")
