"""``veneer recipes``: list, show and copy the bundled recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a bundled recipe.")]

app = typer.Typer(help="List, show or copy the bundled recipes.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the bundled recipes, each with its first line."""
    if context.invoked_subcommand is not None:
        return
    from veneer.recipe import bundled_names, recipe_text

    for name in bundled_names():
        typer.echo(f"{name:<14} {recipe_text(name).splitlines()[0].lstrip('# ')}")


@app.command()
def show(name: Name) -> None:
    """Print a recipe with its comments."""
    from veneer.recipe import recipe_text

    typer.echo(recipe_text(name), nl=False)


@app.command()
def copy(
    name: Name, file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to put the copy.")]
) -> None:
    """Copy a recipe to a file of your own."""
    from veneer.errors import RecipeError
    from veneer.recipe import recipe_text
    from veneer.records.files import write_text

    if file.exists():
        raise RecipeError("the file exists", where=str(file), todo="Choose another name")
    write_text(file, recipe_text(name))
    typer.echo(str(file))
