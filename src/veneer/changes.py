"""What changed since a stage was done: whether it still counts, is done again, or has to be refused.

``run.json`` holds the settings and the hashes of the input with which each stage was done. Nothing here
writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from veneer.config import Recipe
from veneer.errors import RunError
from veneer.recipe import differences
from veneer.records.run import RunDir, StageRecord
from veneer.stage import STAGE_NAMES, STAGES, Settings, Stage, stage_of


def stages_to_redo(run: RunDir, recipe: Recipe, redo: Collection[str], asked: str = "") -> frozenset[str]:
    """Which finished stages are done again, refusing what would undo a kept one unasked; nothing is written.

    Args:
        redo: Stages that the user asked to do again.
        asked: The stage that is about to be done by itself; it may go on with other settings of its own.

    Returns:
        Names of stages; those that are not done yet, or no longer fit, are not among them.

    Raises:
        RunError: If a finished stage was done with other settings or on other data, with the difference.
    """
    again = set(redo)
    for stage in STAGES:
        follows = not stage.ancestors.isdisjoint(redo)
        if stage.name in again or not (follows or stage.is_kept):
            continue
        refusal = _refusal(stage, run, recipe, asked) if stage.is_kept else None
        if refusal is not None and not follows:
            raise refusal
        if refusal is not None or not stage.is_kept:
            again.add(stage.name)
    return frozenset(again)


def stages_to_do(run: RunDir, recipe: Recipe, redo: Collection[str] = ()) -> tuple[str, ...]:
    """Which stages a run of this recipe would do, in order; nothing is written.

    Raises:
        RunError: If a finished stage was done with other settings or on other data, with the difference.
    """
    again = stages_to_redo(run, recipe, redo)
    return tuple(name for name in STAGE_NAMES if name in again or not is_done(run, recipe, name))


def is_done(run: RunDir, recipe: Recipe, name: str) -> bool:
    """Whether a stage is finished and still fits the recipe and its input."""
    stage, record = stage_of(name), run.read_record().stages
    if name not in record or not stage.output(run).exists():
        return False
    before, now = record[name].identity, stage.settings_in(recipe)
    is_known = stage.is_kept or set(now) <= set(before.settings)
    return (
        is_known and not changed_settings(before.settings, now) and dict(stage.inputs(run)) == before.inputs
    )


def has_new_input(stage: Stage, run: RunDir, redo: Collection[str]) -> bool:
    """Whether a finished stage has to start over because its input was made anew meanwhile.

    Args:
        redo: Stages that the user asked to do again: those that follow may start over.

    Raises:
        RunError: If it would have to, and nobody asked.
    """
    record = run.read_record().stages
    refusal = _new_input(stage, run, record) if stage.name in record else None
    if refusal is not None and stage.ancestors.isdisjoint(redo):
        raise refusal
    return refusal is not None


def _refusal(stage: Stage, run: RunDir, recipe: Recipe, asked: str) -> RunError | None:
    """Why a finished stage that is kept does not fit any more; None where it does."""
    record = run.read_record().stages
    if stage.name not in record:
        return _begun_on_another(stage, run, recipe, record) if stage.is_begun(run) else None
    own = () if stage.name == asked else (stage.name,)
    lines: list[str] = []
    for name in (*_done_before(stage, record), *own):
        now = stage_of(name).settings_in(recipe)
        lines += changed_settings(record[name].identity.settings, now)
    if lines:
        return RunError(
            f"`{stage.name}` of this run was done with other settings: {'; '.join(dict.fromkeys(lines))}",
            where=str(run.root),
            todo=f"Use another --out, or `veneer run` with --redo {stage.name}, which does it and what "
            "follows again",
        )
    return _new_input(stage, run, record)


def _begun_on_another(
    stage: Stage, run: RunDir, recipe: Recipe, record: Mapping[str, StageRecord]
) -> RunError | None:
    """Why an interrupted stage could not go on with what earlier ones would make now; None where it could."""
    lines: list[str] = []
    for name in _done_before(stage, record):
        lines += changed_settings(record[name].identity.settings, stage_of(name).settings_in(recipe))
        if dict(stage_of(name).inputs(run)) != record[name].identity.inputs:
            lines.append(f"what `{name}` reads was changed")
    if not lines:
        return None
    return RunError(
        f"`{stage.name}` of this run was begun on something else: {'; '.join(dict.fromkeys(lines))}",
        where=str(run.root),
        todo=f"Take it back, use another --out, or `veneer run` with --redo {stage.name}, which starts over",
    )


def _new_input(stage: Stage, run: RunDir, record: Mapping[str, StageRecord]) -> RunError | None:
    """Why a finished stage that cannot go on with new input has to start over; None where it need not."""
    if stage.takes_new_input:
        return None
    for name in _done_before(stage, record):
        if dict(stage_of(name).inputs(run)) != record[name].identity.inputs:
            return _changed_input(stage, "the data set was changed", run.dataset)
    made = all(stage_of(name).output(run).exists() for name in stage.after)
    if made and dict(stage.inputs(run)) != record[stage.name].identity.inputs:
        return _changed_input(stage, "what it was done on was made anew, and is not the same", run.root)
    return None


def _done_before(stage: Stage, record: Mapping[str, StageRecord]) -> list[str]:
    return [name for name in STAGE_NAMES if name in stage.ancestors and name in record]


def _changed_input(stage: Stage, what: str, where: Path) -> RunError:
    todo = f"Use another --out, or `veneer run` with --redo {stage.name}, which does it on what is there now"
    return RunError(f"{what} after `{stage.name}`", where=str(where), todo=todo)


def changed_settings(before: Settings, now: Settings) -> list[str]:
    """What differs between recorded settings and those of a recipe.

    A table that was not recorded is unknown, which is no difference. A key that was not is one that came with
    a later version: what was done without it was done with its default.
    """
    defaults = Recipe().model_dump(mode="json")
    known = [table for table in now if table in before]
    return differences(
        {table: {key: before[table].get(key, defaults[table][key]) for key in now[table]} for table in known},
        {table: now[table] for table in known},
    )
