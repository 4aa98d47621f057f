"""The stages of a run in order: what is done is skipped, what is not is resumed.

`veneer.stage` tells what the result of each stage depends on, ``run.json`` with what it was done, and
`veneer.changes` compares them. A stage that is done is skipped by the same command. Where something changed,
one that costs seconds is done again; one that cost hours or a person's work (`collect`, `caption`, `train`)
is refused with the difference shown, before a byte is written, until the user asks for it with ``redo``.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol, cast

from veneer import machine, processes
from veneer.arguments import PathLike, given_path, given_texts, refuse_other_words
from veneer.changes import has_new_input, is_done, stages_to_do, stages_to_redo
from veneer.config import Recipe
from veneer.damage import clear_damaged, mend_record, refuse_unfit
from veneer.errors import RunError
from veneer.events import Event, Notice, OnEvent, StageFinished, ignore
from veneer.notebook import in_notebook
from veneer.outcomes import RunResult, StageOutcome
from veneer.preflight import needs_of, refuse_base, refuse_missing
from veneer.recipe import Overrides, fingerprint, recipe_of
from veneer.records.checksums import forget_checksums, record_done
from veneer.records.locks import locked
from veneer.records.metrics import read_verdict
from veneer.records.notices import Notices, forget_notices
from veneer.records.run import AnyRun, Identity, RunDir, RunRecord, StageRecord, opened
from veneer.stage import STAGE_NAMES, STAGES, Stage, stage_of
from veneer.unused_settings import unused_settings
from veneer.versions import versions

Fill = Callable[[RunDir, Recipe, OnEvent], None]
"""Makes what a stage will find done, named by its content."""


class StageResult(Protocol):
    """What every stage returns: a frozen object with one line of what came out.

    One that goes on where it was stopped has `news` too: what this command did of it.
    """

    @property
    def summary(self) -> str:
        """One line of what there is now, the same whether it was made in one go or in several."""


def run(
    recipe: Recipe | PathLike,
    out: PathLike,
    overrides: Overrides = (),
    *,
    redo: str | Collection[str] = (),
    until: str = STAGE_NAMES[-1],
    on_event: OnEvent = in_notebook,
    allow_private_addresses: bool = False,
    ahead: Mapping[str, Fill] = MappingProxyType({}),
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
        ahead: What fills in a stage's keyed results before it, by the stage's name: `veneer.cluster.fills`.

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
        do = partial(_do, again=again, redo=redo, damaged=damaged, told=told)
        wanted = STAGES[: STAGE_NAMES.index(until) + 1]
        outcomes = [
            do(
                stage,
                folder,
                recipe,
                on_event,
                options=options.get(stage.name, {}),
                fill=ahead.get(stage.name),
            )
            for stage in wanted
        ]
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
        return _do(stage, run, recipe, on_event, again=again, told=told)


def _do(
    stage: Stage,
    run: RunDir,
    recipe: Recipe,
    on_event: OnEvent,
    *,
    again: Collection[str],
    redo: Collection[str] = (),
    told: Collection[Notice],
    damaged: Collection[str] = (),
    options: Mapping[str, bool] = MappingProxyType({}),
    fill: Fill | None = None,
) -> StageOutcome:
    record = run.read_record().stages
    if stage.name not in {*again, *damaged} and is_done(run, recipe, stage.name):
        if processes.is_main_process():
            forget_notices(run, stage.name)  # after a kill just when it was done
        on_event(StageFinished(stage.name, record[stage.name].summary, skipped=True))
        return StageOutcome.of_before(stage.name, record[stage.name])
    starts_over = stage.name in again or has_new_input(stage, run, redo)
    if processes.is_main_process():
        _undo(stage, run)
    if starts_over:
        _forget(stage, run)
    notices = Notices(
        run, stage.name, fingerprint(stage.settings_in(recipe)), keeps=processes.is_main_process()
    )
    for notice in told:
        if notice.stage == stage.name:
            notices.add(notice)
    with machine.measure() as usage:
        if fill is not None and processes.is_main_process():
            fill(run, recipe, _tee(notices, on_event))
        summary, news = _perform(stage, run, recipe, _tee(notices, on_event), options)
    outcome = StageOutcome.of_now(stage.name, summary, usage())
    if processes.is_main_process():
        identity = Identity(settings=stage.settings_in(recipe), inputs=stage.inputs(run))
        entered = _with_entry(run, stage.name, outcome.recorded(identity, notices))
        record_done(run, entered, {stage.name: stage.made(run)})
        forget_notices(run, stage.name)
    processes.wait_for_everyone()
    on_event(StageFinished(stage.name, summary + (f" ({news})" if news else ""), outcome.seconds))
    return outcome


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


def _perform(
    stage: Stage, run: RunDir, recipe: Recipe, on_event: OnEvent, options: Mapping[str, bool]
) -> tuple[str, str]:
    """What there is now, which is recorded, and what this command did of it, which is only told."""
    if not stage.is_shared and not processes.is_main_process():
        return "", ""
    result = load_stage(stage.name)(run, recipe, on_event, **options)
    return result.summary, str(getattr(result, "news", ""))


def load_stage(name: str) -> Callable[..., StageResult]:
    """What a stage does; its module, with heavy libraries, loads only now."""
    return cast("Callable[..., StageResult]", importlib.import_module(f"veneer.stages.{name}").run)


def _undo(stage: Stage, run: RunDir) -> None:
    """Say that a stage is not done: a kill from here on leaves it to do, not done with what is half there."""
    if stage.name in run.read_record().stages:
        _with_entry(run, stage.name, None).write(run.run_json)
    forget_checksums(run, stage.name)


def _forget(stage: Stage, run: RunDir) -> None:
    """Start a stage from nothing."""
    if not processes.is_main_process():
        return
    forget_notices(run, stage.name)
    for path in stage.cleared(run):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _tee(notices: Notices, on_event: OnEvent) -> OnEvent:
    def tee(event: Event) -> None:
        if isinstance(event, Notice):
            notices.add(event)
        on_event(event)

    return tee


def _write_recipe(run: RunDir, recipe: Recipe) -> None:
    if not processes.is_main_process():
        return
    run.root.mkdir(parents=True, exist_ok=True)
    run.write_recipe(recipe)
    run.read_record().model_copy(update={"versions": dict(versions())}).write(run.run_json)


def _with_entry(run: RunDir, name: str, entry: StageRecord | None) -> RunRecord:
    """``run.json`` with a stage, in the order of stages; None takes it out."""
    record = run.read_record()
    stages = {**record.stages, name: entry}
    ordered = {stage: stages[stage] for stage in STAGE_NAMES if stages.get(stage) is not None}
    return record.model_copy(update={"stages": ordered})
