"""``veneer import``: what other trainers are used with, as a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from veneer.imported import Imported

KohyaPlace = Annotated[
    Path, typer.Argument(metavar="FOLDER|TOML", help="Pictures in `10_name` folders, or a configuration.")
]
ConfigFile = Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")]
NewRecipe = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The recipe; NAME.toml by default.")
]

imports = typer.Typer(help="Make a recipe of what another trainer is used with.", rich_markup_mode=None)


@imports.callback()
def importing() -> None:
    """Make a recipe of what another trainer is used with."""


@imports.command("kohya")
def import_from_kohya(place: KohyaPlace, out: NewRecipe = None) -> None:
    """Turn kohya's folders or configuration into a recipe, and say what became of every setting."""
    from veneer.kohya import import_kohya

    _import(import_kohya, place, out)


@imports.command("onetrainer")
def import_from_onetrainer(place: ConfigFile, out: NewRecipe = None) -> None:
    """Turn OneTrainer's configuration into a recipe, and say what became of every setting."""
    from veneer.foreign import import_onetrainer

    _import(import_onetrainer, place, out)


@imports.command("ai-toolkit")
def import_from_aitoolkit(place: ConfigFile, out: NewRecipe = None) -> None:
    """Turn ai-toolkit's configuration into a recipe, and say what became of every setting."""
    from veneer.foreign import import_aitoolkit

    _import(import_aitoolkit, place, out)


def _import(read: Callable[[Path], Imported], place: Path, out: Path | None) -> None:
    from veneer.errors import RecipeError
    from veneer.imported import report_of
    from veneer.recipe import to_toml
    from veneer.records.files import write_text

    target = out or Path(f"{place.stem}.toml")
    if target.exists():
        raise RecipeError("the file exists", where=str(target), todo="Name another with --out")
    found = read(place)
    recipe = found.recipe()
    for line in report_of(found):
        typer.echo(line)
    write_text(target, to_toml(recipe))
    typer.echo(f"recipe: {target}; begin with `veneer run {target} --dry-run`")
