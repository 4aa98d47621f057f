"""The stages of a run in order: what is done is skipped, what is not is resumed.

`veneer.stage` tells what the result of each stage depends on, ``run.json`` with what it was done, and
`veneer.changes` compares them. A stage that is done is skipped by the same command. Where something changed,
one that costs seconds is done again; one that cost hours or a person's work (`collect`, `caption`, `train`)
is refused with the difference shown, before a byte is written, until the user asks for it with ``redo``.
"""

from __future__ import annotations

import datetime
import importlib
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from veneer import machine, processes
from veneer.changes import has_new_input, is_done, stages_to_do, stages_to_redo
from veneer.config import Recipe
from veneer.errors import EXIT_DONE, EXIT_WORSE, RunError
from veneer.events import Event, Notice, OnEvent, StageFinished, ignore
from veneer.preflight import needs_of, refuse_missing
from veneer.recipe import fingerprint
from veneer.records.checksums import damaged_files, known_record, write_checksums
from veneer.records.locks import locked
from veneer.records.metrics import Metrics
from veneer.records.notices import Notices, forget_notices
from veneer.records.run import Identity, RunDir, RunRecord, StageRecord
from veneer.stage import STAGE_NAMES, STAGES, Stage, stage_of
from veneer.unused_settings import unused_settings
from veneer.versions import versions


class StageResult(Protocol):
    """What every stage returns: a frozen object with one line of what came out.

    One that goes on where it was stopped has `news` too: what this command did of it.
    """

    @property
    def summary(self) -> str:
        """One line of what there is now, the same whether it was made in one go or in several."""


@dataclass(frozen=True)
class StageOutcome:
    """One stage of a run.

    Attributes:
        seconds: Wall-clock seconds it took, when it was done.
        peak_memory_gib: Highest resident memory during the stage, in GiB.
        skipped: True where an earlier command had done it.
        peak_device_memory_gib: Highest memory of tensors on the accelerator, in GiB; 0 on the CPU.
    """

    name: str
    summary: str
    seconds: float
    peak_memory_gib: float
    skipped: bool
    peak_device_memory_gib: float = 0.0


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        stages: Its stages in order.
        verdict: "better", "worse", "trade", "not shown", or empty before `compare`.
        reasons: Why, in plain words.
    """

    root: Path
    stages: tuple[StageOutcome, ...]
    verdict: str
    reasons: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return RunDir(self.root).index_html

    @property
    def grid(self) -> Path:
        """The grid of base and tuned pictures."""
        return RunDir(self.root).grid_png

    @property
    def exit_status(self) -> int:
        """Exit status of the command: 4 where the tuned model is worse than its base."""
        return EXIT_WORSE if self.verdict == "worse" else EXIT_DONE


def run(
    recipe: Recipe,
    out: Path,
    *,
    redo: Collection[str] = (),
    on_event: OnEvent = ignore,
    allow_private_addresses: bool = False,
) -> RunResult:
    """Take a recipe through all stages, or go on where an earlier command stopped.

    Args:
        out: The run folder; made where it does not exist.
        redo: Stages to do again although they are done. Those that follow are done again too; `collect`,
            `caption` and `train` only where what they depend on has changed.
        allow_private_addresses: Whether downloads may reach private, loopback and link-local addresses.

    Returns:
        The finished run.

    Raises:
        RunError: If another process works on the folder, or a stage that is kept would have to be undone.
        VeneerError: Whatever a stage cannot go on from.
    """
    machine.set_threads()
    folder = RunDir(out)
    with locked(folder.root, "run"):
        _mend_record(folder, on_event)
        damaged = _clear_damaged(folder, [stage for stage in STAGES if stage.name not in redo], on_event)
        again = stages_to_redo(folder, recipe, redo)
        refuse_missing(folder, needs_of(folder, recipe, stages_to_do(folder, recipe, redo)))
        _write_recipe(folder, recipe)
        told = _tell_unused(folder, recipe, again, on_event)
        options = {"collect": {"allow_private_addresses": True}} if allow_private_addresses else {}
        do = partial(_do, again=again, redo=redo, damaged=damaged, told=told)
        outcomes = [
            do(stage, folder, recipe, on_event, options=options.get(stage.name, {})) for stage in STAGES
        ]
    verdict, reasons = read_verdict(folder)
    return RunResult(out, tuple(outcomes), verdict, reasons)


def run_stage(name: str, run: RunDir, *, redo: bool = True, on_event: OnEvent = ignore) -> StageOutcome:
    """Do one stage of a run, by its folder.

    Args:
        redo: Whether a finished stage is done again; `train` resumes all the same.

    Returns:
        What came out.

    Raises:
        RunError: If the folder holds no run, an earlier stage is not done, or a later one that is kept would
            have to be undone.
    """
    machine.set_threads()
    recipe, stage = run.read_recipe(), stage_of(name)
    _mend_record(run, on_event)
    stages_to_redo(run, recipe, (), asked=name)
    for earlier in STAGE_NAMES[: STAGE_NAMES.index(name)]:
        if not is_done(run, recipe, earlier):
            raise RunError(
                f"`{earlier}` is not done yet",
                where=str(run.root),
                todo=f"Run `veneer {earlier}` first, or `veneer run`",
            )
        if lost := damaged_files(run, earlier):
            raise RunError(
                f"what `{earlier}` made is damaged",
                where=str(lost[0]),
                todo=f"Run `veneer {earlier}` again, or `veneer run`, which makes it anew",
            )
    again = frozenset({name} if redo and not stage.is_kept else ())
    with locked(run.root, "run"):
        told = _tell_unused(run, recipe, again, on_event, stages=(name,))
        return _do(stage, run, recipe, on_event, again=again, told=told)


def read_verdict(run: RunDir) -> tuple[str, tuple[str, ...]]:
    """Read verdict and reasons of a run; an empty verdict before `compare`."""
    if not run.metrics_json.is_file():
        return "", ()
    metrics = Metrics.of(run)
    return metrics.verdict, metrics.reasons


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
) -> StageOutcome:
    record = run.read_record().stages
    if stage.name not in {*again, *damaged} and is_done(run, recipe, stage.name):
        if processes.is_main_process():
            forget_notices(run, stage.name)  # after a kill just when it was done
        on_event(StageFinished(stage.name, record[stage.name].summary, skipped=True))
        return _outcome_before(stage.name, record[stage.name])
    if stage.name in again or has_new_input(stage, run, redo):
        _forget(stage, run)
    if processes.is_main_process():
        write_checksums(run, stage.name, ())  # until it is done
    notices = Notices(
        run, stage.name, fingerprint(stage.settings_in(recipe)), keeps=processes.is_main_process()
    )
    for notice in told:
        if notice.stage == stage.name:
            notices.add(notice)
    with machine.measure() as usage:
        summary, news = _perform(stage, run, recipe, _tee(notices, on_event), options)
    outcome = _outcome(stage.name, summary, usage())
    if processes.is_main_process():
        identity = Identity(settings=stage.settings_in(recipe), inputs=stage.inputs(run))
        _write_entry(run, stage.name, _entry(identity, outcome, notices))
        forget_notices(run, stage.name)
        write_checksums(run, stage.name, stage.made(run))
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


def _entry(identity: Identity, outcome: StageOutcome, notices: Notices) -> StageRecord:
    return StageRecord(
        identity=identity,
        summary=outcome.summary,
        seconds=outcome.seconds,
        peak_memory_gib=outcome.peak_memory_gib,
        peak_device_memory_gib=outcome.peak_device_memory_gib,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        notices=notices.counted(),
    )


def _outcome(name: str, summary: str, used: machine.Usage) -> StageOutcome:
    peaks = used.peak_memory_gib, used.peak_device_memory_gib
    own, on_device = (round(peak, 3) for peak in peaks)
    return StageOutcome(name, summary, round(used.seconds, 3), own, False, on_device)


def _outcome_before(name: str, entry: StageRecord) -> StageOutcome:
    on_device = entry.peak_device_memory_gib
    return StageOutcome(name, entry.summary, entry.seconds, entry.peak_memory_gib, True, on_device)


def _forget(stage: Stage, run: RunDir) -> None:
    """Start a stage from nothing: a kill from here on leaves it to do, not done with what is half there."""
    if not processes.is_main_process():
        return
    _write_entry(run, stage.name, None)
    forget_notices(run, stage.name)
    for path in stage.cleared(run):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _clear_damaged(run: RunDir, stages: Sequence[Stage], on_event: OnEvent) -> frozenset[str]:
    """Take away what is no longer as a stage left it, and tell of it; names of stages that make it anew."""
    found = [damaged_files(run, stage.name) if processes.is_main_process() else [] for stage in stages]
    counts = processes.share_numbers([float(len(damaged)) for damaged in found])
    for stage, damaged in zip(stages, found, strict=True):
        if stage.is_kept and (lost := [path for path in damaged if path != stage.output(run)]):
            raise RunError(
                f"a file that `{stage.name}` made is damaged, and only all of it can be made anew",
                where=str(lost[0]),
                todo=f"Put it back from a copy, or add --redo {stage.name}",
            )
        if damaged:
            first = damaged[0].relative_to(run.root)
            what = f"{len(damaged)} files of `{stage.name}` are damaged or gone, such as {first}: made anew"
            on_event(Notice(stage.name, "output-damaged", what))
        for path in damaged:
            path.unlink(missing_ok=True)
    processes.wait_for_everyone()
    return frozenset(stage.name for stage, count in zip(stages, counts, strict=True) if count)


def _mend_record(run: RunDir, on_event: OnEvent) -> None:
    """Where run.json is damaged, take its second copy; without that, every stage is looked at anew."""
    if not processes.is_main_process():
        return
    try:
        run.read_record()
    except RunError:
        known = known_record(run)
        copy = (
            "its copy in checksums.json is taken" if known else "every stage is done again where it has to be"
        )
        on_event(Notice("run", "record-damaged", f"{run.run_json} is damaged: {copy}"))
        (known or RunRecord(stages={})).write(run.run_json)


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


def _write_entry(run: RunDir, name: str, entry: StageRecord | None) -> None:
    """Put a stage into ``run.json``, in the order of stages; None takes it out."""
    record = run.read_record()
    stages = {**record.stages, name: entry}
    ordered = {stage: stages[stage] for stage in STAGE_NAMES if stages.get(stage) is not None}
    record.model_copy(update={"stages": ordered}).write(run.run_json)
