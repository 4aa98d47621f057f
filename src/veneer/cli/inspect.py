"""``veneer inspect``: what is in a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veneer.cli.options import Json
from veneer.cli.output import print_json

if TYPE_CHECKING:
    from veneer.lora.info import LoraInfo

SHOWN = 400
"""Most characters of one line; --json gives all of them."""


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A LoRA file (.safetensors) of any layout, or its folder.")
    ],
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the recipe that it was made by, and nothing else.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show a LoRA file's layout, rank, alpha, trained layers, strength by block, and where it comes from.

    ``--json`` has all of it, the file's own metadata too.
    """
    from veneer.lora.info import inspect as inspect_file
    from veneer.lora.kinds import shown_name

    info = inspect_file(file)
    if as_json:
        print_json(info)
    elif recipe:
        print(info.recipe or f"# {file.name} does not say which recipe it was made by")
    else:
        for key, value in _rows(info):
            print(f"{key:<10} {shown_name(value, SHOWN)}")
    return 0


def _rows(info: LoraInfo) -> list[tuple[str, str]]:
    """What a person asks of a file, in twelve lines at most."""
    from veneer.lora.keys import OWN_VERSION

    own = info.metadata
    rows = [
        ("file", f"{info.path} ({info.size_bytes / 2**20:.1f} MiB)"),
        ("kind", f"{'DoRA' if info.use_dora else 'LoRA'} in {info.layout} layout, {info.precision}"),
        ("rank", _counted(info.ranks)),
        ("alpha", _counted(info.alphas)),
        ("layers", f"{info.num_layers}: {_named(info.layers)}"),
        ("numbers", f"{info.num_parameters:,}"),
        ("strength", ", ".join(f"{block.block} {block.norm:.3g}" for block in info.blocks)),
        ("base", info.base),
        ("step", info.step),
        (
            "made by",
            f"Veneer {own[OWN_VERSION]}" if OWN_VERSION in own else own.get("ss_training_comment", ""),
        ),
        ("recipe", "see --recipe" if info.recipe else ""),
    ]
    rows[-2:-2] = [("family", info.family)] if info.family else []
    broken = f"{len(info.broken)} layers hold numbers that are not finite: the file is useless"
    rows += [("broken", broken)] if info.broken else []
    return [(key, value or "the file does not say") for key, value in rows]


def _counted(values: dict[int, int] | dict[float, int]) -> str:
    """Such as "4", or "4 (16 layers), 8 (2 layers)" where layers differ."""
    if len(values) == 1:
        return f"{next(iter(values)):g}"
    return ", ".join(f"{value:g} ({count} layers)" for value, count in sorted(values.items()))


def _named(layers: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(layers.items()))
