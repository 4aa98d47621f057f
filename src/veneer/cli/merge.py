"""``veneer merge``: several LoRA files added up into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from veneer.cli.options import Json
from veneer.cli.output import print_result

if TYPE_CHECKING:
    from veneer.choices import FileLayout


def merge(
    lora: Annotated[list[Path], typer.Argument(metavar="LORA...", help="LoRA files of one base.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file.")],
    weight: Annotated[
        list[float] | None,
        typer.Option(
            "--weights", "--weight", metavar="W", help="Factor on each file, in order; 1 by default."
        ),
    ] = None,
    kohya: Annotated[
        bool, typer.Option("--kohya", help="Write kohya's layout in place of diffusers'.")
    ] = False,
    base: Annotated[
        str, typer.Option("--base", metavar="ID", help="A base to load the new file back on, as a check.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Add LoRA files up, exactly: ranks are joined, so the rank is the sum of theirs."""
    from veneer.cli.progress import ProgressPrinter
    from veneer.lora.convert import merge_files

    weights, layout = weight or [1.0] * len(lora), "kohya" if kohya else "diffusers"
    with ProgressPrinter(quiet=True) as on_event:
        result = merge_files(
            lora, weights, out, layout=cast("FileLayout", layout), base=base or None, on_event=on_event
        )
    print_result(result, as_json=as_json)
    return 0
