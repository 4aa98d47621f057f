"""``veneer caption``: captions for the pictures of a data set that have none."""

from __future__ import annotations

from typing import Annotated

import typer

from veneer.cli.options import DatasetFolder, Json, Quiet
from veneer.cli.output import print_json


def caption(
    dataset: DatasetFolder,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="ID", help="Captioner: hub name, folder, pocket, or none for file names."
        ),
    ] = "Salesforce/blip-image-captioning-base",
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Text before every generated caption.")
    ] = "",
    trigger: Annotated[
        str, typer.Option("--trigger", metavar="WORD", help="Word that later calls the style.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Generate captions again that a model made; a person's stay.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take lines out of the metadata that name no picture.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only, and write nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Caption the pictures that have no caption; what a person wrote or edited is never written over."""
    from veneer.cli.progress import ProgressPrinter
    from veneer.config import CaptionTable
    from veneer.stages.caption import caption as caption_pictures

    table = CaptionTable(model=model, prefix=prefix, trigger=trigger)
    with ProgressPrinter(quiet) as on_event:
        result = caption_pictures(dataset, table, on_event, overwrite=overwrite, dry_run=dry_run, prune=prune)
    if as_json:
        print_json(result)
    else:
        print(result.summary)
    return 0
