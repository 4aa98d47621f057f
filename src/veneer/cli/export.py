"""``veneer export``: the chosen checkpoint of a run, or any LoRA file in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from veneer.cli.options import Json, Quiet
from veneer.cli.output import print_json
from veneer.cli.stage import do_stage

if TYPE_CHECKING:
    from veneer.lora.convert import FileLayout, Precision

LAYOUTS = ("diffusers", "kohya", "merged")
PRECISIONS = ("float32", "float16", "bfloat16")


def export(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder; or give --lora.")] = None,
    lora: Annotated[
        Path | None, typer.Option("--lora", metavar="FILE", help="A LoRA file, or a checkpoint's adapter.")
    ] = None,
    layout: Annotated[str, typer.Option("--layout", help="diffusers, kohya or merged.")] = "diffusers",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="File, or folder for merged.")
    ] = None,
    scale: Annotated[float, typer.Option("--scale", help="Factor on the adapter's strength.")] = 1.0,
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, float16 or bfloat16; the file's own by default.")
    ] = "",
    base: Annotated[
        str, typer.Option("--base", metavar="ID", help="The base; the one the file names by default.")
    ] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write the chosen checkpoint of a run in both layouts; or, with --lora, any file in another layout."""
    if (run is None) == (lora is None):
        raise typer.BadParameter("give a RUN, or --lora FILE")
    own = {
        "--layout": layout != "diffusers",
        "--out": out,
        "--scale": scale != 1,
        "--dtype": dtype,
        "--base": base,
    }
    if run is not None and (asked := [name for name, value in own.items() if value]):
        file = run / "lora" / "pytorch_lora_weights.safetensors"
        raise typer.BadParameter(f"{', '.join(asked)}: give --lora FILE in place of RUN, such as {file}")
    if run is not None:
        return do_stage("export", run, as_json, quiet)
    if lora is None or out is None:
        raise typer.BadParameter("--lora needs --out")
    if layout not in LAYOUTS or (dtype and dtype not in PRECISIONS):
        raise typer.BadParameter(f"--layout is {', '.join(LAYOUTS)}; --dtype is {', '.join(PRECISIONS)}")
    from veneer.cli.progress import ProgressPrinter
    from veneer.lora.convert import export_file

    with ProgressPrinter(quiet, ("export",)) as on_event:
        result = export_file(
            lora,
            out,
            layout=cast("FileLayout", layout),
            scale=scale,
            dtype=cast("Precision", dtype) if dtype else None,
            base=base or None,
            on_event=on_event,
        )
    if as_json:
        print_json(result)
    else:
        print(result.summary)
    return 0
