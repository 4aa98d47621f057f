"""The stages of a run in order: what is done is skipped, what is not is resumed.

`veneer.stage` tells what the result of each stage depends on, ``run.json`` with what it was done, and
`veneer.changes` compares them. A stage that is done is skipped by the same command. Where something changed,
one that costs seconds is done again; one that cost hours or a person's work (`collect`, `caption`, `train`)
is refused with the difference shown, before a byte is written, until the user asks for it with ``redo``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from veneer import machine, processes
from veneer.arguments import PathLike, given_path, given_texts, refuse_other_words
from veneer.attempt import Attempt, Perform
from veneer.changes import is_done, stages_to_do, stages_to_redo
from veneer.config import Recipe
from veneer.damage import clear_damaged, mend_record, refuse_unfit
from veneer.errors import RunError
from veneer.events import Notice, OnEvent, ignore
from veneer.notebook import in_notebook
from veneer.outcomes import RunResult, StageOutcome
from veneer.preflight import needs_of, refuse_base, refuse_missing
from veneer.recipe import Overrides, recipe_of
from veneer.records.locks import locked
from veneer.records.metrics import read_verdict
from veneer.records.run import AnyRun, RunDir, opened
from veneer.stage import STAGE_NAMES, STAGES, stage_of
from veneer.unused_settings import unused_settings
from veneer.versions import versions


def run(
    recipe: Recipe | PathLike,
    out: PathLike,
    overrides: Overrides = (),
    *,
    redo: str | Collection[str] = (),
    until: str = STAGE_NAMES[-1],
    on_event: OnEvent = in_notebook,
    allow_private_addresses: bool = False,
    instead: Mapping[str, Perform] = MappingProxyType({}),
) -> RunResult:
    """Take a recipe through all stages, or go on where an earlier command stopped.

    Args:
        recipe: A recipe, a bundled name, or a file.
        out: The run folder; made where it does not exist.
        overrides: Settings, as `load_recipe` takes them.
        redo: Stages to do again although they are done. Those that follow are done again too; `collect`,
            `caption` and `train` only where what they depend on has changed.
        until: The last stage to do; the same folder goes on from there.
        allow_private_addresses: Whether downloads may reach private, loopback and link-local addresses.
        instead: What does a stage in place of its own module, by the stage's name: a cluster's
            `veneer.cluster.stages.over_cluster`.

    Returns:
        The finished run.

    Raises:
        RunError: If another process works on the folder, or a stage that is kept would have to be undone.
        ArgumentError: If an argument is of another type.
        VeneerError: Whatever a stage cannot go on from.
    """
    folder, recipe = RunDir(given_path(out, "out")), recipe_of(recipe, overrides)
    redo = given_texts(redo, "redo")
    refuse_other_words(redo, STAGE_NAMES, "redo")
    machine.set_threads()
    with locked(folder.root, "run"):
        mend_record(folder, on_event)
        damaged = clear_damaged(folder, [stage for stage in STAGES if stage.name not in redo], on_event)
        again = stages_to_redo(folder, recipe, redo)
        to_do = stages_to_do(folder, recipe, redo)
        refuse_base(recipe, to_do)
        refuse_missing(folder, needs_of(folder, recipe, to_do))
        _write_recipe(folder, recipe)
        told = _tell_unused(folder, recipe, again, on_event)
        options = {"collect": {"allow_private_addresses": True}} if allow_private_addresses else {}
        attempt = Attempt(
            folder,
            recipe,
            on_event,
            again=again,
            told=told,
            redo=redo,
            damaged=damaged,
            instead=instead,
            options=options,
        )
        outcomes = [attempt.do(stage) for stage in STAGES[: STAGE_NAMES.index(until) + 1]]
    verdict, reasons = read_verdict(folder)
    return RunResult(folder.root, tuple(outcomes), verdict, reasons)


def open_run(folder: AnyRun) -> RunResult:
    """Open a run that is there, as far as it is done; nothing is written.

    Args:
        folder: The run folder.

    Raises:
        RunError: If the folder holds no run, or its record is damaged.
    """
    run_dir, _ = opened(folder)
    done = tuple(StageOutcome.of_before(name, entry) for name, entry in run_dir.read_record().stages.items())
    verdict, reasons = read_verdict(run_dir)
    return RunResult(run_dir.root, done, verdict, reasons)


def run_stage(name: str, run: RunDir, *, redo: bool = True, on_event: OnEvent = ignore) -> StageOutcome:
    """Do one stage of a run, by its folder.

    Args:
        redo: Whether a finished stage is done again; `train` resumes all the same.

    Returns:
        What came out.

    Raises:
        RunError: If the folder holds no run, an earlier stage is not done, or a later one that is kept would
            have to be undone; or if what it needs is not to be had.
    """
    machine.set_threads()
    recipe, stage = run.read_recipe(), stage_of(name)
    mend_record(run, on_event)
    stages_to_redo(run, recipe, (), asked=name)
    for earlier in STAGE_NAMES[: STAGE_NAMES.index(name)]:
        if not is_done(run, recipe, earlier):
            raise RunError(
                f"`{earlier}` is not done yet",
                where=str(run.root),
                todo=f"Run `veneer {earlier}` first, or `veneer run`",
            )
        refuse_unfit(run, earlier)
    refuse_missing(run, needs_of(run, recipe, (name,)))  # the hub's client tries for minutes
    again = frozenset({name} if redo and not stage.is_kept else ())
    with locked(run.root, "run"):
        told = _tell_unused(run, recipe, again, on_event, stages=(name,))
        return Attempt(run, recipe, on_event, again=again, told=told).do(stage)


def _tell_unused(
    run: RunDir,
    recipe: Recipe,
    again: Collection[str],
    on_event: OnEvent,
    stages: Collection[str] = STAGE_NAMES,
) -> list[Notice]:
    """Tell of settings that do not act before any stage begins; the record has them where they are read."""
    to_do = {name for name in stages if name in again or not is_done(run, recipe, name)}
    notices = [unused.notice for unused in unused_settings(recipe) if unused.notice.stage in to_do]
    for notice in notices:
        on_event(notice)
    return notices


def _write_recipe(run: RunDir, recipe: Recipe) -> None:
    if not processes.is_main_process():
        return
    run.root.mkdir(parents=True, exist_ok=True)
    run.write_recipe(recipe)
    run.read_record().model_copy(update={"versions": dict(versions())}).write(run.run_json)
