"""``veneer merge``: several LoRA files added up into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import Json
from veneer.cli.output import print_json


def merge(
    lora: Annotated[list[Path], typer.Argument(metavar="LORA...", help="LoRA files of one base.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file.")],
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", metavar="W", help="Factor on each file, in order; 1 by default."),
    ] = None,
    kohya: Annotated[
        bool, typer.Option("--kohya", help="Write kohya's layout in place of diffusers'.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Add LoRA files up, exactly: ranks are joined, so the rank is the sum of theirs."""
    from veneer.lora.convert import merge_files

    result = merge_files(lora, weight or [1.0] * len(lora), out, layout="kohya" if kohya else "diffusers")
    if as_json:
        print_json(result)
    else:
        print(result.summary)
    return 0
