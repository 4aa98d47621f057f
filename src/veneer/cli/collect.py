"""``veneer collect``: pictures from folders, searches, lists and hub data sets into a data-set folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import AllowPrivate, Json, Quiet
from veneer.cli.output import print_result


def collect(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folder, openverse:QUERY, commons:QUERY, bing:QUERY, urls:FILE, hf:NAME, or pocket.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DATASET", help="The data-set folder.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most pictures to take.")] = None,
    max_file_mib: Annotated[float, typer.Option(help="Largest file, in MiB.")] = 25.0,
    allow_private_addresses: AllowPrivate = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links in a folder that lead out of it.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Collect pictures into a data-set folder; the same command again goes on and takes nothing twice."""
    from veneer.cli.progress import ProgressPrinter
    from veneer.config import CollectTable
    from veneer.stages.collect import collect as collect_pictures

    table = CollectTable(sources=tuple(source), limit=limit, max_file_mib=max_file_mib)
    with ProgressPrinter(quiet, ("collect",)) as on_event:
        result = collect_pictures(
            table.sources,
            out,
            table,
            on_event,
            allow_private_addresses=allow_private_addresses,
            follow_links=follow_links,
        )
    print_result(result, as_json=as_json, words=result.summary + (f" ({result.news})" if result.news else ""))
    return 0
