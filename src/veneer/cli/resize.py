"""``veneer resize``: a LoRA file of smaller rank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from veneer.cli.options import Json
from veneer.cli.output import print_result

if TYPE_CHECKING:
    from veneer.choices import FileLayout


def resize(
    lora: Annotated[Path, typer.Argument(metavar="LORA", help="A LoRA file.")],
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of the new file.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file.")],
    kohya: Annotated[
        bool, typer.Option("--kohya", help="Write kohya's layout in place of diffusers'.")
    ] = False,
    base: Annotated[
        str, typer.Option("--base", metavar="ID", help="A base to load the new file back on, as a check.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Make a LoRA file smaller: the nearest update of a smaller rank, layer by layer."""
    from veneer.cli.progress import ProgressPrinter
    from veneer.lora.convert import resize_file

    layout = "kohya" if kohya else "diffusers"
    with ProgressPrinter(quiet=True) as on_event:
        result = resize_file(
            lora, rank, out, layout=cast("FileLayout", layout), base=base or None, on_event=on_event
        )
    print_result(result, as_json=as_json)
    return 0
