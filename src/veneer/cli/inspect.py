"""``veneer inspect``: what is in a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import Json
from veneer.cli.output import plain, print_json


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA file (.safetensors), of any layout.")],
    as_json: Json = False,
) -> int:
    """Show a LoRA file's layout, rank, alpha, trained layers, norms and recipe."""
    from veneer.lora.info import inspect as inspect_file

    info = inspect_file(file)
    if as_json:
        print_json(info)
        return 0
    for key, value in plain(info).items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, item in value.items():
                print(f"  {name:<40} {item}")
        else:
            print(f"{key:<16} {value}")
    return 0
