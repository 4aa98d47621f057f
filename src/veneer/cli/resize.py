"""``veneer resize``: a LoRA file of smaller rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import Json
from veneer.cli.output import print_json


def resize(
    lora: Annotated[Path, typer.Argument(metavar="LORA", help="A LoRA file.")],
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of the new file.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file.")],
    kohya: Annotated[
        bool, typer.Option("--kohya", help="Write kohya's layout in place of diffusers'.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Make a LoRA file smaller: the nearest update of a smaller rank, layer by layer."""
    from veneer.lora.convert import resize_file

    result = resize_file(lora, rank, out, layout="kohya" if kohya else "diffusers")
    if as_json:
        print_json(result)
    else:
        print(result.summary)
    return 0
