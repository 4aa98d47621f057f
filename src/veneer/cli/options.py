"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veneer.choices import TrackerName
from veneer.cli import completion

if TYPE_CHECKING:
    from veneer.models.embedder import Embedder

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; notes and errors only.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="TABLE.KEY=VALUE", help="Override a key of the recipe; may be given often."
    ),
]
AllowPrivate = Annotated[
    bool,
    typer.Option("--allow-private-addresses", help="Let downloads reach private and loopback addresses."),
]
Track = Annotated[
    TrackerName | None, typer.Option("--track", help="Follow the training in this tracker too.")
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=completion.complete_run)
]
DatasetFolder = Annotated[Path, typer.Argument(metavar="DATASET", help="A data-set folder.")]


def optional_embedder(name: str) -> Embedder | None:
    """Load the embedder that an option names.

    Args:
        name: "pocket", a hub name or a folder; empty for none.

    Raises:
        VeneerError: If it cannot be loaded.
    """
    if not name:
        return None
    from veneer.models.embedder import load_embedder

    return load_embedder(name)
