"""``veneer recipes``: list, show and copy the bundled recipes."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a bundled recipe.")]

app = typer.Typer(help="List, show or copy the bundled recipes.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the bundled recipes: what each is for, what it needs, how long it takes."""
    if context.invoked_subcommand is not None:
        return
    from veneer.recipe import bundled_names, recipe_text

    for name in bundled_names():
        typer.echo(name)
        for title, text in _opening(recipe_text(name)).items():
            typer.echo(textwrap.fill(text, 79, initial_indent=f"  {title:<9} ", subsequent_indent=" " * 12))


def _opening(text: str) -> dict[str, str]:
    """Purpose, hardware and minutes, from the comment that a recipe opens with."""
    lines = [
        line.lstrip("# ") for line in itertools.takewhile(lambda line: line[:1] == "#", text.splitlines())
    ]
    keys = ("Hardware", "Minutes", "Command")
    purpose = " ".join(itertools.takewhile(lambda line: line.partition(":")[0] not in keys, lines))
    facts = {key: text.strip() for key, _, text in (line.partition(":") for line in lines) if key in keys}
    return {"purpose": purpose.strip(), **{key.lower(): text for key, text in facts.items()}}


@app.command("show")
def show_recipe(name: Name) -> None:
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
