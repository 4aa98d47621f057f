"""``veneer train``: the adapter of a run, from its cached latents."""

from __future__ import annotations

from typing import Annotated

import typer

from veneer.cli.options import Json, Quiet, RunFolder
from veneer.cli.output import plain, print_json
from veneer.cli.stage import do_stage


def train(
    run: RunFolder,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell steps, epochs, disk, memory and time, and do nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a run's adapter, or go on where it stopped."""
    if not plan:
        return do_stage("train", run, as_json, quiet)
    from veneer.rundir import RunDir
    from veneer.training.plan import plan as plan_training

    folder = RunDir(run)
    planned = plan_training(folder, folder.read_recipe())
    if as_json:
        print_json(planned)
        return 0
    for key, value in plain(planned).items():
        print(f"{key.replace('_', ' '):<28} {value}")
    return 0
