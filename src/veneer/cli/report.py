"""``veneer report``: the report of a run, and, where asked, the adapter to the hub."""

from __future__ import annotations

from typing import Annotated

import typer

from veneer.cli.options import Json, Quiet, RunFolder
from veneer.cli.stage import do_stage


def report(
    run: RunFolder,
    push: Annotated[
        str | None,
        typer.Option(
            "--push", metavar="OWNER/NAME", help="Send adapter, model card and measures to the hub."
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="With --push: let everybody see a new repository.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write the report: one HTML file that opens offline."""
    status = do_stage("report", run, as_json, quiet)
    if push is None:
        return status
    from veneer.records.run import RunDir
    from veneer.stages.report import push as send

    folder = RunDir(run)
    print(send(folder, folder.read_recipe(), push, private=not public))
    return status
