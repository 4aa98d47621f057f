"""``veneer check``: duplicates, broken, small, blurred and suspicious pictures of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from veneer.cli.options import DatasetFolder, Json, Quiet, optional_embedder
from veneer.cli.output import print_json

if TYPE_CHECKING:
    from veneer.data.findings import Flag
    from veneer.events import OnEvent
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
    safety_checker: Annotated[
        str,
        typer.Option(
            "--safety-checker",
            metavar="ID",
            help="Classifier of unsafe content: folder, hub name, none, or auto: the usual one if on disk.",
        ),
    ] = "auto",
    flag: Annotated[
        list[str] | None,
        typer.Option(
            "--flag", metavar="FLAG", help="What --apply moves, in place of its own choice; several at once."
        ),
    ] = None,
    pick: Annotated[
        int,
        typer.Option("--pick", min=0, metavar="N", help="Pick N pictures that differ most, into pick.json."),
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Look for duplicates and bad pictures; write check.json and a contact sheet."""
    if apply and restore:
        raise typer.BadParameter("--apply and --restore exclude each other")
    from veneer.cli.progress import ProgressPrinter
    from veneer.stages.check import check as check_pictures

    flags = _flags(flag)
    with ProgressPrinter(quiet, ("check",)) as printer:
        result = check_pictures(
            dataset,
            resolution=resolution,
            query=query,
            embedder=None if restore else optional_embedder(embedder or ("pocket" if pick else "")),
            safety_checker=safety_checker,
            apply=apply,
            flags=flags,
            restore=restore,
            pick=pick,
            on_event=printer if as_json else _without_findings(printer),
        )
    if as_json:
        print_json(result)
    else:
        _print_table(result)
    return 0


def _flags(names: list[str] | None) -> frozenset[Flag]:
    from veneer.data.findings import FLAGS, REMOVED

    unknown = [name for name in names or [] if name not in FLAGS]
    if unknown:
        raise typer.BadParameter(f"no such flag: {', '.join(unknown)}. Flags are {', '.join(FLAGS)}")
    return frozenset(flag for flag in FLAGS if flag in names) if names else REMOVED


def _without_findings(on_event: OnEvent) -> OnEvent:
    """Leave out the notices that the table says too."""
    from veneer.events import Event, Notice

    def listen(event: Event) -> None:
        if not (isinstance(event, Notice) and event.code.startswith("check-")):
            on_event(event)

    return listen


def _print_table(result: CheckResult) -> None:
    from rich.console import Console
    from rich.table import Table

    if result.findings:
        table = Table("flag", "pictures", "--apply", "meaning")
        for row in result.table:
            table.add_row(*map(str, row))
        Console().print(table)
    for note in result.notes:
        print(note)
    if result.pick is not None:
        print("\n".join(result.pick.names))
        least = f"no picture is less than {result.pick.covered:.2f} like one of them"
        print(f"{len(result.pick.names)} pictures that differ most, in pick.json; {least}")
    print(result.summary)
    if result.restored is None:
        print(f"contact sheet: {result.contact_sheet}")
