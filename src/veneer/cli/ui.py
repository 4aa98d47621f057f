"""``veneer ui``: the studio, a page in the browser."""

from __future__ import annotations

import gc
import os
import sys
import webbrowser
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
    browser: Annotated[
        bool,
        typer.Option("--browser/--no-browser", help="Open the page, where a person sits at this machine."),
    ] = True,
) -> int:
    """Open the studio: data sets, recipes, training and comparison in a page of the browser.

    Needs the extra `web` (pip install 'veneer[web]'). The page loads nothing from other hosts.
    """
    gc.disable()  # what is made while it starts stays; to look for what does not takes a tenth of the time
    from veneer.web.app import open_studio

    try:
        password = os.environ.get("VENEER_PASSWORD", "")

        def ready(address: str) -> None:
            _say(address)
            if browser and sits_here(host):
                webbrowser.open(address)

        open_studio(workspace, host=host, port=port, password=password, also=allow or (), on_ready=ready)
    finally:
        gc.enable()
    return 0


def sits_here(host: str) -> bool:
    """Whether whoever started it looks at this machine's screen: not over SSH, from a pipe or a service."""
    is_remote = any(map(os.environ.get, ("SSH_CONNECTION", "SSH_TTY")))
    has_screen = sys.platform in ("win32", "darwin")
    has_screen = has_screen or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    is_own = host in ("127.0.0.1", "localhost", "::1")
    return sys.stdout.isatty() and has_screen and is_own and not is_remote


def _say(address: str) -> None:
    gc.freeze()
    gc.enable()
    typer.echo(f"The studio is at {address} - Ctrl-C ends it; runs go on")
