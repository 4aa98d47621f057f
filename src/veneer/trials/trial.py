"""Trials of a sweep: which there are, what recipe each has, and doing one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from veneer import pipeline
from veneer.config import Recipe
from veneer.errors import RecipeError, RunError, VeneerError
from veneer.events import Event, Notice, OnEvent, ignore
from veneer.recipe import differences, recipe_of
from veneer.records.sweeps import SweepDir, SweepRecord, TrialRecord
from veneer.trials.halving import FallenBehindError, Halving
from veneer.trials.looking import look_at
from veneer.trials.sharing import take_over

SWEEP = "sweep"
LAST = "export"
"""Stage up to which every trial goes; the best one alone goes on."""


def swept_recipe(recipe: Recipe) -> Recipe:
    """The recipe that trials share: one half of the held-out pictures looks at them, the other judges.

    Raises:
        RecipeError: If trials cannot be told apart by pictures.
    """
    if recipe.lora.embedding_token:
        todo = (
            "Leave lora.embedding_token out; a word learnt by itself has no strength to hold against the base"
        )
        raise RecipeError(
            "trials that learn a word cannot be ranked", where="lora.embedding_token", todo=todo
        )
    if recipe.compare.scales:
        return recipe
    return recipe_of(recipe, [f"compare.scales=[{recipe.compare.scale}]"])


def trial_recipe(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """The recipe of one trial.

    Raises:
        RecipeError: If a value does not fit.
    """
    varied = recipe_of(recipe, [f"{key}={value}" for key, value in settings.items()])
    if "compare.scale" in settings:
        varied = recipe_of(varied, [f"compare.scales=[{varied.compare.scale}]"])
    return varied


def begun(folder: SweepDir, recipe: Recipe) -> SweepRecord:
    """The record of a sweep folder, made where there is none.

    Raises:
        RunError: If it was begun with another recipe, with the difference.
    """
    plain, known = recipe.model_dump(mode="json"), folder.known()
    if known is None:
        known = SweepRecord(recipe=plain)
        known.write(folder.sweep_json)
    elif lines := differences(known.recipe, plain):
        raise RunError(
            f"this sweep was begun with another recipe: {'; '.join(lines)}",
            where=str(folder.root),
            todo="Use another --out, or vary the key with --over",
        )
    return known


def with_trials(record: SweepRecord, wanted: Sequence[Mapping[str, str]]) -> SweepRecord:
    """Add trials that a sweep does not have yet; names count up, and never change."""
    known = {tuple(sorted(trial.settings.items())) for trial in record.trials}
    fresh = [settings for settings in wanted if tuple(sorted(settings.items())) not in known]
    first = len(record.trials) + 1
    added = [TrialRecord(name=f"{first + n:03d}", settings=one) for n, one in enumerate(fresh)]
    return record.model_copy(update={"trials": (*record.trials, *added)})


def replaced(record: SweepRecord, trial: TrialRecord) -> SweepRecord:
    """The same sweep with one trial in another state; a new one comes last."""
    known = {one.name: one for one in record.trials}
    return record.model_copy(update={"trials": tuple({**known, trial.name: trial}.values())})


def do_trial(
    folder: SweepDir,
    trial: TrialRecord,
    recipe: Recipe,
    donors: Sequence[str],
    on_event: OnEvent = ignore,
    *,
    halving: Halving | None = None,
    allow_private_addresses: bool = False,
) -> TrialRecord:
    """Take a trial to the point where it can be ranked; one that fails is told of and leaves the others be.

    Args:
        recipe: The sweep's.
        donors: Names of trials that may have done the same data stages.
        halving: Watches the held-out losses, and may stop it; None for neither.

    Returns:
        The trial, done, failed or stopped.
    """
    start = time.perf_counter()
    run = folder.trial(trial.name)
    update: dict[str, Any]

    def tell(event: Event) -> None:
        on_event(event)
        if halving is not None:
            halving(event)

    try:
        own = trial_recipe(recipe, trial.settings)
        take_over(run, own, [folder.trial(name) for name in donors])
        pipeline.run(
            own, run.root, until=LAST, on_event=tell, allow_private_addresses=allow_private_addresses
        )
        update = {"state": "done", "why": "", "beside": look_at(folder, run, own, on_event)}
    except FallenBehindError as stop:
        update = {"state": "stopped", "why": stop.why}
    except VeneerError as error:
        update = {"state": "failed", "why": str(error)}
        on_event(Notice(SWEEP, "trial-failed", f"trial {trial.name} failed, the others go on: {error}"))
    seconds = round(trial.seconds + time.perf_counter() - start, 1)
    losses = {**trial.losses, **(halving.losses if halving else {})}
    return trial.model_copy(update={**update, "seconds": seconds, "losses": losses})
