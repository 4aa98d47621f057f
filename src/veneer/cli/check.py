"""``veneer check``: duplicates, broken, small, blurred and suspicious pictures of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from veneer.cli.options import DatasetFolder, Json, Quiet
from veneer.cli.output import print_json

if TYPE_CHECKING:
    from veneer.models.embedder import Embedder
    from veneer.stages.check import CheckResult


def check(
    dataset: DatasetFolder,
    apply: Annotated[
        bool, typer.Option("--apply", help="Move flagged pictures to rejected/; nothing is deleted.")
    ] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Bring the pictures in rejected/ back.")] = False,
    resolution: Annotated[
        int, typer.Option("--resolution", min=32, help="Training resolution in pixels.")
    ] = 512,
    query: Annotated[
        str, typer.Option("--query", help="What the pictures should show; needs --embedder.")
    ] = "",
    embedder: Annotated[
        str,
        typer.Option("--embedder", metavar="ID", help="Also compare by features: pocket, or a CLIP by name."),
    ] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Look for duplicates and bad pictures; write check.json and a contact sheet."""
    if apply and restore:
        raise typer.BadParameter("--apply and --restore exclude each other")
    from veneer.cli.progress import ProgressPrinter
    from veneer.stages.check import check as check_pictures

    with ProgressPrinter(quiet) as on_event:
        result = check_pictures(
            dataset,
            resolution=resolution,
            query=query,
            embedder=_embedder(embedder),
            apply=apply,
            restore=restore,
            on_event=on_event,
        )
    if as_json:
        print_json(result)
    else:
        _print_table(result)
    return 0


def _embedder(name: str) -> Embedder | None:
    if not name:
        return None
    from veneer.models.embedder import load_embedder

    return load_embedder(name)


def _print_table(result: CheckResult) -> None:
    from rich.console import Console
    from rich.table import Table

    if result.findings:
        table = Table("flag", "pictures", "--apply", "meaning")
        for row in result.table:
            table.add_row(*map(str, row))
        Console().print(table)
    print(result.summary)
    if not result.restored:
        print(f"contact sheet: {result.contact_sheet}")
