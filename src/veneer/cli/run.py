"""``veneer run``: a recipe through all stages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veneer.cli import completion
from veneer.cli.options import AllowPrivate, Json, Quiet, Set, Track
from veneer.cli.output import print_json, print_run

if TYPE_CHECKING:
    from veneer.attempt import Perform

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="A bundled name, or a .toml file.", autocompletion=completion.complete_recipe
    ),
]
NewRun = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="RUN",
        help="Run folder; runs/RECIPE or runs/STYLE by default.",
        autocompletion=completion.complete_run,
    ),
]
Pictures = Annotated[
    list[str] | None,
    typer.Option("--pictures", metavar="SOURCE", help="Your own pictures in place of the recipe's."),
]
StyleWords = Annotated[
    str,
    typer.Option(
        "--style",
        metavar="WORDS",
        help="What they are, such as `watercolour painting`: captions, prompts and names follow it.",
    ),
]
Redo = Annotated[
    list[str] | None,
    typer.Option(
        "--redo",
        metavar="STAGE",
        help="Do a finished stage and all later ones again.",
        autocompletion=completion.complete_stage,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "--plan", help="Print what would be done, takes and needs, and do nothing."),
]
WithRecipe = Annotated[bool, typer.Option("--recipe", help="With --dry-run: the whole resolved recipe too.")]
Events = Annotated[
    Path | None,
    typer.Option("--events", metavar="FILE", help="Also append every event to FILE, a line of JSON each."),
]
Auto = Annotated[
    float,
    typer.Option(
        "--auto",
        metavar="MINUTES",
        min=0,
        help="Find rank, rate and steps by short probes first, for so many minutes.",
    ),
]
ClusterAddress = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Do the costly stages on a Ray cluster: HOST:PORT, auto, or local for this machine.",
    ),
]
ClusterWorkers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="With --cluster: processes at once; by default one for each GPU or, without, processor.",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Show the report in the browser at the end.")]
Within = Annotated[
    list[Path] | None,
    typer.Option(
        "--within",
        metavar="DIR",
        help="Refuse a recipe that leads out of DIR, as a stranger's may; may be given often.",
    ),
]


def run(
    recipe: RecipeName,
    out: NewRun = None,
    pictures: Pictures = None,
    style: StyleWords = "",
    settings: Set = None,
    redo: Redo = None,
    auto: Auto = 0,
    dry_run: DryRun = False,
    with_recipe: WithRecipe = False,
    events: Events = None,
    within: Within = None,
    cluster: ClusterAddress = "",
    workers: ClusterWorkers = 0,
    allow_private_addresses: AllowPrivate = False,
    open_report: Open = False,
    track: Track = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Take a recipe through all stages: pictures, captions, LoRA, and the measured comparison with the base.

    The same command again skips what is done and resumes what is not.
    """
    from veneer.own_style import folder_name
    from veneer.recipe import load_recipe

    folder = out or Path("runs") / (folder_name(style) if style else Path(recipe).stem)
    settings, pictures, within = settings or [], pictures or [], within or []
    read = partial(load_recipe, recipe, settings, pictures=pictures, style=style, within=within)
    stages = check_stages(redo or [])
    if dry_run:
        from veneer.cli.dryrun import dry_run as tell_plan

        return tell_plan(read(), folder, stages, as_json=as_json, with_recipe=with_recipe)
    from veneer.cli.eventlog import EventLog
    from veneer.cli.progress import ProgressPrinter
    from veneer.cli.timeleft import course_of
    from veneer.records.run import RunDir
    from veneer.stage import STAGE_NAMES
    from veneer.tracking import Tracking

    with (
        ProgressPrinter(quiet, STAGE_NAMES) as show,
        EventLog(events, show) as log,
        Tracking([track] if track else [], RunDir(folder), log) as on_event,
        ExitStack() as stack,
    ):
        resolved = read()
        instead = stack.enter_context(_instead(cluster, workers))
        from veneer.pipeline import run as run_pipeline

        if auto:
            from veneer.trials.probing import find_settings

            private = allow_private_addresses
            resolved = find_settings(
                resolved, RunDir(folder), auto, on_event=on_event, allow_private_addresses=private
            ).recipe
        show.follow(course_of(resolved, RunDir(folder)))
        result = run_pipeline(
            resolved,
            folder,
            redo=stages,
            on_event=on_event,
            allow_private_addresses=allow_private_addresses,
            instead=instead,
        )
    if as_json:
        print_json(result)
    else:
        print_run(result)
    if open_report:
        typer.launch(result.report.absolute().as_uri())
    return result.exit_status


def _instead(cluster: str, workers: int) -> AbstractContextManager[Mapping[str, Perform]]:
    """What a cluster does in place of this machine; nothing without one."""
    if not cluster:
        return nullcontext({})
    from veneer.cluster.stages import over_cluster

    return over_cluster(cluster, workers=workers)


def check_stages(names: list[str]) -> list[str]:
    """Check names of stages.

    Args:
        names: Names as the user wrote them.

    Returns:
        The same names.

    Raises:
        BadParameter: If one is no stage.
    """
    from veneer.stage import STAGE_NAMES

    for name in names:
        if name not in STAGE_NAMES:
            raise typer.BadParameter(f"`{name}` is no stage; the stages are {', '.join(STAGE_NAMES)}")
    return names
