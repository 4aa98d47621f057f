"""``veneer export``: the chosen checkpoint of a run, or any LoRA file in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from veneer.choices import Precision
from veneer.cli import completion
from veneer.cli.options import Json, Quiet
from veneer.cli.output import print_result
from veneer.cli.stage import do_stage


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="A run folder; or give --lora.", autocompletion=completion.complete_run
        ),
    ] = None,
    lora: Annotated[
        Path | None, typer.Option("--lora", metavar="FILE", help="A LoRA file, or a checkpoint's adapter.")
    ] = None,
    layout: Annotated[
        Literal["diffusers", "kohya", "merged"],
        typer.Option("--layout", help="Names and shape of the file; merged is the whole base with it."),
    ] = "diffusers",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="File, or folder for merged.")
    ] = None,
    scale: Annotated[float, typer.Option("--scale", help="Factor on the adapter's strength.")] = 1.0,
    dtype: Annotated[
        Precision | None, typer.Option("--dtype", help="Precision to write; the file's own by default.")
    ] = None,
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
    from veneer.cli.progress import ProgressPrinter
    from veneer.lora.convert import export_file

    with ProgressPrinter(quiet, ("export",)) as on_event:
        result = export_file(
            lora,
            out,
            layout=layout,
            scale=scale,
            dtype=dtype,
            base=base or None,
            on_event=on_event,
        )
    print_result(result, as_json=as_json)
    return 0
