"""One stage of a run: skipped where it is done, done, recorded and told."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from veneer import machine, processes
from veneer.changes import has_new_input, is_done
from veneer.config import Recipe
from veneer.events import Event, Notice, OnEvent, StageFinished
from veneer.outcomes import StageOutcome
from veneer.recipe import fingerprint
from veneer.records.checksums import forget_checksums, record_done
from veneer.records.notices import Notices, forget_notices
from veneer.records.run import Identity, RunDir, RunRecord, StageRecord
from veneer.stage import STAGE_NAMES, Stage


class StageResult(Protocol):
    """What every stage returns: a frozen object with one line of what came out.

    One that goes on where it was stopped has `news` too: what this command did of it.
    """

    @property
    def summary(self) -> str:
        """One line of what there is now, the same whether it was made in one go or in several."""


Perform = Callable[..., StageResult]
"""Does a stage: takes the run, its recipe, a listener and, by name, what only a command may say."""


@dataclass(frozen=True)
class Attempt:
    """What one command does with stages of a run.

    Attributes:
        again: Stages that are done although they are done already.
        redo: Those that the user named.
        told: Settings that do not act, told already; each is recorded with its stage.
        damaged: Stages whose results are damaged.
        instead: What does a stage in place of its own module, by the stage's name.
        options: What only a command may say, by the stage's name.
    """

    run: RunDir
    recipe: Recipe
    on_event: OnEvent
    again: Collection[str]
    told: Collection[Notice]
    redo: Collection[str] = ()
    damaged: Collection[str] = ()
    instead: Mapping[str, Perform] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)

    def do(self, stage: Stage) -> StageOutcome:
        """Do a stage that is not done, and leave one that is."""
        run, name = self.run, stage.name
        if name not in {*self.again, *self.damaged} and is_done(run, self.recipe, name):
            return self._skip(stage)
        starts_over = name in self.again or has_new_input(stage, run, self.redo)
        if processes.is_main_process():
            _undo(stage, run)
        if starts_over:
            forget_results(stage, run)
        notices = self._notices(stage)
        with machine.measure() as usage:
            summary, news = self._perform(stage, _tee(notices, self.on_event))
        outcome = StageOutcome.of_now(name, summary, usage())
        if processes.is_main_process():
            identity = Identity(settings=stage.settings_in(self.recipe), inputs=stage.inputs(run))
            entered = _with_entry(run, name, outcome.recorded(identity, notices))
            record_done(run, entered, {name: stage.made(run)})
            forget_notices(run, name)
        processes.wait_for_everyone()
        self.on_event(StageFinished(name, summary + (f" ({news})" if news else ""), outcome.seconds))
        return outcome

    def _skip(self, stage: Stage) -> StageOutcome:
        entry = self.run.read_record().stages[stage.name]
        if processes.is_main_process():
            forget_notices(self.run, stage.name)  # after a kill just when it was done
        self.on_event(StageFinished(stage.name, entry.summary, skipped=True))
        return StageOutcome.of_before(stage.name, entry)

    def _notices(self, stage: Stage) -> Notices:
        made_with = fingerprint(stage.settings_in(self.recipe))
        notices = Notices(self.run, stage.name, made_with, keeps=processes.is_main_process())
        for notice in self.told:
            if notice.stage == stage.name:
                notices.add(notice)
        return notices

    def _perform(self, stage: Stage, on_event: OnEvent) -> tuple[str, str]:
        """What there is now, which is recorded, and what this command did of it, which is only told."""
        if not stage.is_shared and not processes.is_main_process():
            return "", ""
        options = self.options.get(stage.name, {})
        perform = self.instead.get(stage.name) or load_stage(stage.name)
        result = perform(self.run, self.recipe, on_event, **options)
        return result.summary, str(getattr(result, "news", ""))


def load_stage(name: str) -> Perform:
    """What a stage does; its module, with heavy libraries, loads only now."""
    return cast("Perform", importlib.import_module(f"veneer.stages.{name}").run)


def forget_results(stage: Stage, run: RunDir) -> None:
    """Start a stage from nothing."""
    if not processes.is_main_process():
        return
    forget_notices(run, stage.name)
    for path in stage.cleared(run):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _undo(stage: Stage, run: RunDir) -> None:
    """Say that a stage is not done: a kill from here on leaves it to do, not done with what is half there."""
    if stage.name in run.read_record().stages:
        _with_entry(run, stage.name, None).write(run.run_json)
    forget_checksums(run, stage.name)


def _tee(notices: Notices, on_event: OnEvent) -> OnEvent:
    def tee(event: Event) -> None:
        if isinstance(event, Notice):
            notices.add(event)
        on_event(event)

    return tee


def _with_entry(run: RunDir, name: str, entry: StageRecord | None) -> RunRecord:
    """``run.json`` with a stage, in the order of stages; None takes it out."""
    record = run.read_record()
    stages = {**record.stages, name: entry}
    ordered = {stage: stages[stage] for stage in STAGE_NAMES if stages.get(stage) is not None}
    return record.model_copy(update={"stages": ordered})
