"""``veneer train``: the adapter of a run, from its cached latents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import Json, Quiet, RunFolder, Track
from veneer.cli.output import plain, print_json
from veneer.cli.stage import do_stage
from veneer.errors import RunError


def train(
    run: RunFolder,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell steps, epochs, disk, memory and time, and do nothing.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Write a trace and a table of where a step's time goes."),
    ] = False,
    track: Track = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a run's adapter, or go on where it stopped."""
    if plan:
        return _notify_plan(run, as_json)
    if profile:
        return _profile(run, as_json, quiet)
    from veneer.events import ignore
    from veneer.records.run import RunDir
    from veneer.tracking import Tracking

    with Tracking([track] if track else [], RunDir(run), ignore) as tracking:
        return do_stage("train", run, as_json, quiet, tracking)


def _profile(run: Path, as_json: bool, quiet: bool) -> int:
    from veneer.records.run import RunDir
    from veneer.training.profile import STEPS, WARM_UP_STEPS, StepProfile

    profile = StepProfile(RunDir(run).profile)
    try:
        status = do_stage("train", run, as_json, quiet, profile.on_event)
    finally:
        profile.close()
    if profile.table is None:
        raise RunError(
            f"no profile: it takes {WARM_UP_STEPS + STEPS} steps that were not trained yet",
            where=str(run),
            todo="Raise train.max_train_steps, or profile a new run",
        )
    print(f"{profile.table}\nprofile and trace: {profile.folder}", file=sys.stderr)
    return status


def _notify_plan(run: Path, as_json: bool) -> int:
    from veneer.records.run import RunDir
    from veneer.training.plan import plan as plan_training

    folder = RunDir(run)
    planned = plan_training(folder, folder.read_recipe())
    if as_json:
        print_json(planned)
        return 0
    for key, value in plain(planned).items():
        print(f"{key.replace('_', ' '):<28} {value}")
    return 0
