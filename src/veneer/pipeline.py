"""The stages of a run in order: what is done is skipped, what is not is resumed.

Each stage has an identity: the settings and the input that its result depends on. `run.json` records the
identity with which a stage was finished, and the same command again skips it while that is unchanged. Where
it changed, a stage that costs seconds is done again; one that cost hours or a person's work (`collect`,
`caption`, `train`) is refused with the difference shown, until the user asks for it with ``redo``.
"""

from __future__ import annotations

import datetime
import importlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import filelock

from veneer import machine, processes
from veneer.config import Recipe
from veneer.errors import EXIT_DONE, EXIT_WORSE, RunError, VeneerError
from veneer.events import Event, Notice, OnEvent, StageFinished, ignore
from veneer.identity import STAGE_NAMES, identity_of
from veneer.recipe import differences
from veneer.records.files import write_json
from veneer.records.run import RunDir
from veneer.versions import versions

if TYPE_CHECKING:
    from veneer.models.embedder import Embedder

KEPT = frozenset({"collect", "caption", "train"})
"""Stages whose result is never thrown away unasked."""

SHARED = frozenset({"caption", "encode", "train", "generate"})
"""Stages in which every process takes part; the others run on the main process alone."""


class StageResult(Protocol):
    """What every stage returns: a frozen object with one line of what came out."""

    @property
    def summary(self) -> str:
        """One line of what came out."""


Stage = Callable[[RunDir, Recipe, OnEvent], StageResult]


@dataclass(frozen=True)
class StageOutcome:
    """One stage of a run.

    Attributes:
        name: Name of the stage.
        summary: One line of what came out.
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
        root: The run folder.
        stages: Its stages in order.
        verdict: "better", "no different", "worse", or empty before `compare`.
        reasons: Why, in plain words.
    """

    root: Path
    stages: tuple[StageOutcome, ...]
    verdict: str
    reasons: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return RunDir(self.root).report / "index.html"

    @property
    def grid(self) -> Path:
        """The grid of base and tuned pictures."""
        return RunDir(self.root).report / "grid.png"

    @property
    def exit_status(self) -> int:
        """Exit status of the command: 4 where the tuned model is worse than its base."""
        return EXIT_WORSE if self.verdict == "worse" else EXIT_DONE


def run(recipe: Recipe, out: Path, *, redo: Collection[str] = (), on_event: OnEvent = ignore) -> RunResult:
    """Take a recipe through all stages, or go on where an earlier command stopped.

    Args:
        recipe: The resolved recipe.
        out: The run folder; made where it does not exist.
        redo: Stages to do again although they are done; later stages follow.
        on_event: Called with every event.

    Returns:
        The finished run.

    Raises:
        RunError: If another process works on the folder, or a stage that is kept would have to be undone.
        VeneerError: Whatever a stage cannot go on from.
    """
    machine.set_threads()
    folder = RunDir(out)
    with _locked(folder):
        refuse_changes(folder, recipe, redo)
        _write_recipe(folder, recipe)
        outcomes = [_stage(folder, recipe, name, redo, on_event) for name in STAGE_NAMES]
    verdict, reasons = read_verdict(folder)
    return RunResult(out, tuple(outcomes), verdict, reasons)


def run_stage(name: str, folder: RunDir, *, redo: bool = True, on_event: OnEvent = ignore) -> StageOutcome:
    """Do one stage of a run, by its folder.

    Args:
        name: Name of the stage.
        folder: The run folder, with its recipe.
        redo: Whether a finished stage is done again; `train` resumes all the same.
        on_event: Called with every event.

    Returns:
        What came out.

    Raises:
        RunError: If the folder holds no run, or an earlier stage is not done.
    """
    machine.set_threads()
    recipe = folder.read_recipe()
    for earlier in STAGE_NAMES[: STAGE_NAMES.index(name)]:
        if not is_done(folder, recipe, earlier):
            raise RunError(
                f"`{earlier}` is not done yet",
                where=str(folder.root),
                todo=f"Run `veneer {earlier}` first, or `veneer run`",
            )
    again = {name} if redo and name not in KEPT else set()
    with _locked(folder):
        return _stage(folder, recipe, name, again, on_event)


def refuse_changes(folder: RunDir, recipe: Recipe, redo: Collection[str]) -> None:
    """Refuse settings that would undo a kept stage.

    Args:
        folder: The run folder.
        recipe: The recipe as it is now.
        redo: Stages that the user asked to do again.

    Raises:
        RunError: If a finished stage was done with other settings, with the differences.
    """
    record = folder.read_record()["stages"]
    for name in STAGE_NAMES:
        if name in redo:
            return
        done = record.get(name)
        if name not in KEPT or done is None:
            continue
        changed = differences(done["identity"]["settings"], identity_of(name, folder, recipe).settings)
        if changed:
            raise RunError(
                f"`{name}` of this run was done with other settings: {'; '.join(changed)}",
                where=str(folder.root),
                todo=f"Use another --out, or add --redo {name} to do it and all later stages again",
            )


def is_done(folder: RunDir, recipe: Recipe, name: str) -> bool:
    """Whether a stage is finished and still fits the recipe and its input.

    Args:
        folder: The run folder.
        recipe: The recipe as it is now.
        name: Name of the stage.

    Returns:
        True where there is nothing to do.
    """
    done = folder.read_record()["stages"].get(name)
    return (
        done is not None
        and identity_of(name, folder, recipe).plain() == done["identity"]
        and output_of(folder, name).exists()
    )


def output_of(folder: RunDir, name: str) -> Path:
    """What a stage leaves behind when it is done.

    Args:
        folder: The run folder.
        name: Name of the stage.

    Returns:
        A file or folder of the run.
    """
    outputs: Mapping[str, Path] = {
        "collect": folder.dataset,
        "check": folder.dataset / "check.json",
        "caption": folder.dataset / "metadata.csv",
        "encode": folder.cache / "index.json",
        "train": folder.candidates_json,
        "export": folder.lora_file if folder.lora_file.exists() else folder.embedding_file,
        "generate": folder.samples,
        "compare": folder.metrics_json,
        "report": folder.report / "index.html",
    }
    return outputs[name]


def read_verdict(folder: RunDir) -> tuple[str, tuple[str, ...]]:
    """Read the verdict of a run.

    Args:
        folder: The run folder.

    Returns:
        Verdict and reasons; an empty verdict before `compare`.
    """
    if not folder.metrics_json.is_file():
        return "", ()
    metrics = json.loads(folder.metrics_json.read_text("utf-8"))
    return metrics["verdict"], tuple(str(reason) for reason in metrics["reasons"])


def _stage(
    folder: RunDir, recipe: Recipe, name: str, redo: Collection[str], on_event: OnEvent
) -> StageOutcome:
    record = folder.read_record()["stages"]
    if name not in redo and is_done(folder, recipe, name):
        done = record[name]
        on_event(StageFinished(name, done["summary"], skipped=True))
        on_device = done.get("peak_device_memory_gib", 0.0)
        return StageOutcome(name, done["summary"], done["seconds"], done["peak_memory_gib"], True, on_device)
    if name in redo:
        forget(folder, name)
    elif name == "train" and name in record:
        _refuse_new_input(folder, recipe, record[name]["identity"])
    notices: list[Notice] = []
    with machine.measure() as usage:
        summary = _perform(name, folder, recipe, _tee(notices, on_event))
    used = usage()
    entry = {
        "identity": identity_of(name, folder, recipe).plain(),
        "summary": summary,
        "seconds": round(used.seconds, 3),
        "peak_memory_gib": round(used.peak_memory_gib, 3),
        "peak_device_memory_gib": round(used.peak_device_memory_gib, 3),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "notices": _counted(notices),
    }
    if processes.is_main_process():
        _write_entry(folder, name, entry)
    processes.wait_for_everyone()
    on_event(StageFinished(name, summary, used.seconds))
    peak, on_device = used.peak_memory_gib, used.peak_device_memory_gib
    return StageOutcome(name, summary, used.seconds, peak, False, on_device)


def _refuse_new_input(folder: RunDir, recipe: Recipe, done: Mapping[str, Any]) -> None:
    if identity_of("train", folder, recipe).inputs != done["inputs"]:
        raise RunError(
            "the data set was changed after training",
            where=str(folder.dataset),
            todo="Add --redo train to train on it as it is now, or use another --out",
        )


def forget(folder: RunDir, name: str) -> None:
    """Remove what a stage made, so that it starts from nothing.

    Args:
        folder: The run folder.
        name: Name of the stage.
    """
    if not processes.is_main_process():
        return
    owned = {
        "train": folder.train,
        "export": folder.lora,
    }  # the others write file by file, over what is there
    if name in owned:
        shutil.rmtree(owned[name], ignore_errors=True)


def _perform(name: str, folder: RunDir, recipe: Recipe, on_event: OnEvent) -> str:
    if name not in SHARED and not processes.is_main_process():
        return ""
    return _stage_function(name)(folder, recipe, on_event).summary


def _stage_function(name: str) -> Stage:
    match name:
        case "collect":
            return _collect
        case "check":
            return _check
        case "caption":
            return _caption
        case _:  # a stage, its module and its function share their name; each loads only when it runs
            return cast("Stage", getattr(importlib.import_module(f"veneer.stages.{name}"), name))


def _collect(folder: RunDir, recipe: Recipe, on_event: OnEvent) -> StageResult:
    from veneer.stages.collect import collect

    return collect(recipe.collect.sources, folder.dataset, recipe.collect, on_event)


def _check(folder: RunDir, recipe: Recipe, on_event: OnEvent) -> StageResult:
    from veneer.stages.check import check

    embedder = _clip("check", recipe, on_event)
    return check(folder.dataset, resolution=recipe.encode.resolution, embedder=embedder, on_event=on_event)


def _caption(folder: RunDir, recipe: Recipe, on_event: OnEvent) -> StageResult:
    from veneer.stages.caption import caption

    asks_a_model = recipe.caption.model != "none" and (
        caption(folder.dataset, recipe.caption, dry_run=True).generated > 0
    )
    embedder = _clip("caption", recipe, on_event) if asks_a_model else None
    return caption(folder.dataset, recipe.caption, on_event, embedder=embedder)


def _clip(stage: str, recipe: Recipe, on_event: OnEvent) -> Embedder | None:
    """The CLIP that `compare` will look through; without it the data stages look at less, and say so."""
    from veneer.models.embedder import choose_clip

    try:
        return choose_clip(recipe.compare.embedder, recipe.base.model, machine.pick_device())
    except VeneerError as error:
        on_event(Notice(stage, "no-embedder", f"not looked at through a CLIP: {error}"))
        return None


def _tee(notices: list[Notice], on_event: OnEvent) -> OnEvent:
    def tee(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event)
        on_event(event)

    return tee


def _counted(notices: list[Notice]) -> list[dict[str, Any]]:
    counted: dict[str, dict[str, Any]] = {}
    for notice in notices:
        entry = counted.setdefault(notice.code, {"code": notice.code, "count": 0, "message": notice.message})
        entry["count"] += 1
    return list(counted.values())


def _write_recipe(folder: RunDir, recipe: Recipe) -> None:
    if not processes.is_main_process():
        return
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.write_recipe(recipe)
    write_json(folder.run_json, {**folder.read_record(), "versions": versions()})


def _write_entry(folder: RunDir, name: str, entry: Mapping[str, Any]) -> None:
    record = folder.read_record()
    stages = {**record["stages"], name: dict(entry)}
    ordered = {stage: stages[stage] for stage in STAGE_NAMES if stage in stages}
    write_json(folder.run_json, {**record, "stages": ordered})


@contextmanager
def _locked(folder: RunDir) -> Iterator[None]:
    if not processes.is_main_process():
        yield
        return
    folder.root.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(folder.root / ".lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise RunError(
            "another veneer works on this run", where=str(folder.root), todo="Wait for it, or stop it"
        ) from error
    with lock:
        yield
