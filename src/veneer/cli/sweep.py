"""``veneer sweep``: many settings of one recipe, the best one confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veneer.cli import completion
from veneer.cli.options import AllowPrivate, Json, Quiet, Set
from veneer.cli.output import print_json
from veneer.cli.run import Pictures, RecipeName, StyleWords

if TYPE_CHECKING:
    from veneer.trials.running import SweepResult

Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="TABLE.KEY=VALUE,VALUE",
        help="What is varied: every combination of all values is a trial; LOW..HIGH is a range to search in.",
    ),
]
Search = Annotated[
    int,
    typer.Option(
        "--search",
        metavar="N",
        min=0,
        help="N trials in all, each chosen by what was found before, and stopped where it falls behind "
        "(needs Optuna: pip install 'veneer[search]').",
    ),
]
SweepFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="SWEEP",
        help="Sweep folder; runs/RECIPE-sweep by default.",
        autocompletion=completion.complete_run,
    ),
]


def sweep(
    recipe: RecipeName,
    over: Over = None,
    search: Search = 0,
    out: SweepFolder = None,
    pictures: Pictures = None,
    style: StyleWords = "",
    settings: Set = None,
    allow_private_addresses: AllowPrivate = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Try many settings of a recipe, take the best by what is sure of it, and confirm that on fresh prompts.

    Trials share pictures, captions and latents as far as their settings allow. The same command again goes on
    where it was stopped; more values add trials.
    """
    from veneer.cli.progress import ProgressPrinter
    from veneer.own_style import folder_name
    from veneer.recipe import load_recipe

    folder = out or Path("runs") / f"{folder_name(style) if style else Path(recipe).stem}-sweep"
    with ProgressPrinter(quiet, ("sweep",)) as on_event:
        resolved = load_recipe(recipe, settings or [], pictures=pictures or [], style=style)
        from veneer.trials.running import sweep as run_sweep

        result = run_sweep(
            resolved,
            over or [],
            folder,
            search=search,
            on_event=on_event,
            allow_private_addresses=allow_private_addresses,
        )
    if as_json:
        print_json(result)
    else:
        print_sweep(result)
    return result.exit_status


def print_sweep(result: SweepResult) -> None:
    """Print the table of a sweep, best first."""
    for one in result.standings:
        told = " ".join(f"{key}={value}" for key, value in one.trial.settings.items())
        print(f"{one.trial.name}  {told}  {one.words}")
    print(f"verdict: {result.summary}")
    print(f"recipe:  {result.recipe}")
    print(f"report:  {result.report}")
