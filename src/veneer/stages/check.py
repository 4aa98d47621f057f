"""Look for what spoils a training: ``veneer check DATASET [--apply | --restore]``.

Every picture is measured once; the measures are kept, so the same command again looks only at what is new.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import try_to_load_from_cache

from veneer.config import Recipe
from veneer.data.contact import contact_sheet
from veneer.data.findings import (
    FLAGS,
    MEANINGS,
    REMOVED,
    SPOILING,
    Finding,
    Flag,
    copy_findings,
    own_findings,
)
from veneer.data.inspection import Inspected, inspect_picture
from veneer.data.measured import fresh_names, measure_line, read_measures, stamp_of
from veneer.data.rejection import STAGE, bring_back, move_away
from veneer.data.spread import Alike, Features, Pick, diverse, groups_of, lacks
from veneer.data.tagcounts import tag_note
from veneer.data.worker import Failure, Workers, processes_for
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent, Progress, StageStarted, ignore
from veneer.notebook import in_notebook
from veneer.records.check import CheckFile, FoundFault
from veneer.records.dataset import AnyDataset, Dataset, dataset_of
from veneer.records.files import open_to_append, write_text
from veneer.records.locks import locked
from veneer.records.pick import PickFile
from veneer.records.run import RunDir
from veneer.text import counted, some_of

if TYPE_CHECKING:
    from veneer.models.embedder import Embedder

Looked = tuple[list[str], Features]
"""Names of the pictures that an embedder saw, and what it saw, shape (N, D)."""
USUAL_CHECKER = "Falconsai/nsfw_image_detection"


@dataclass(frozen=True)
class CheckResult:
    """What checking found.

    Attributes:
        pictures: Pictures looked at.
        findings: What is wrong, by picture.
        moved: Pictures moved to ``rejected/``.
        restored: Pictures brought back; None where that was not asked for.
        notes: What was not looked at, and why.
        flags: Flags that ``--apply`` acts on.
        groups: Pictures that look alike to the embedder, the largest group first; none without one.
        pick: Pictures that differ most, where some were asked for.
    """

    root: Path
    pictures: int
    findings: tuple[Finding, ...] = ()
    moved: int = 0
    restored: int | None = None
    notes: tuple[str, ...] = ()
    flags: frozenset[Flag] = REMOVED
    groups: tuple[Alike, ...] = ()
    pick: Pick | None = None

    @property
    def counts(self) -> Mapping[Flag, int]:
        """Findings by flag, in the order of their weight."""
        counted = Counter(finding.flag for finding in self.findings)
        return {flag: counted[flag] for flag in FLAGS if counted[flag]}

    @property
    def table(self) -> tuple[tuple[str, int, str, str], ...]:
        """Rows for people: flag, pictures, what ``--apply`` does with them, meaning."""
        return tuple(
            (flag, count, "moves" if flag in self.flags else "leaves", MEANINGS[flag])
            for flag, count in self.counts.items()
        )

    @property
    def contact_sheet(self) -> Path:
        """The HTML file that shows every flagged picture."""
        return Dataset(self.root).check_html

    @property
    def summary(self) -> str:
        """One line of what came out."""
        if self.restored is not None:
            return f"{counted(self.restored, 'picture')} brought back from rejected/"
        flagged = len({finding.file_name for finding in self.findings})
        what = ", ".join(f"{count} {flag}" for flag, count in self.counts.items())
        moved = f"; {self.moved} moved to rejected/" if self.moved else ""
        return f"{flagged} of {self.pictures} pictures flagged{f' ({what})' if what else ''}{moved}"


def check(
    dataset: AnyDataset,
    *,
    resolution: int = 512,
    query: str = "",
    embedder: Embedder | None = None,
    safety_checker: str = "auto",
    apply: bool = False,
    flags: Collection[Flag] = REMOVED,
    restore: bool = False,
    pick: int = 0,
    on_event: OnEvent = in_notebook,
) -> CheckResult:
    """Look at every picture of a data set; writes check.json and a contact sheet.

    Args:
        dataset: The data-set folder.
        resolution: Training resolution in pixels.
        query: What the pictures should show; empty to take each picture's own search query.
        embedder: Finds copies that hashes miss and, with texts, pictures far from the query.
        safety_checker: Image classifier that knows unsafe content: a folder or hub name, "auto" for the usual
            one where it is on this machine, "none" for none.
        apply: Whether flagged pictures are moved to ``rejected/``.
        flags: Which flags ``apply`` acts on.
        restore: Whether to bring back what was moved, and look at nothing.
        pick: How many pictures to pick that differ most, into ``pick.json``; 0 for none. Needs an embedder.

    Returns:
        What was found and moved.

    Raises:
        DatasetError: If the folder or its metadata cannot be used, or ``apply`` meets ``restore``.
        VeneerError: If the safety checker is named and cannot be loaded.
    """
    folder = dataset_of(dataset)
    dataset = folder.root
    if apply and restore:
        raise DatasetError("apply and restore exclude each other", where=str(dataset))
    if pick and embedder is None:
        raise DatasetError("a diverse pick needs an embedder", where=str(dataset), todo="Name one, or pocket")
    names = folder.picture_names()
    if not names and not restore:
        raise DatasetError("no pictures", where=str(dataset), todo="Collect some with `veneer collect`")
    with locked(dataset, "data set"):
        if restore:
            restored = bring_back(folder, on_event=on_event)
            return CheckResult(dataset, len(names) + restored, restored=restored)
        _notify_odd_names(folder, on_event)
        seen, own = _inspect(folder, names, resolution, on_event)
        found, notes, looked = _find(
            folder, seen, own, query=query, embedder=embedder, safety_checker=safety_checker
        )
        findings = _still_there(folder, found, on_event)
        removed: frozenset[Flag] = frozenset(flags)
        groups, chosen = _spread(looked, findings, removed, pick)
        notes += lacks(groups)
        sheet = contact_sheet(folder, len(names), findings, removed, notes, groups=groups, pick=chosen)
        write_text(folder.check_html, sheet)
        moved = move_away(folder, _by_picture(findings, removed)) if apply else 0
        result = CheckResult(
            dataset, len(names), tuple(findings), moved, None, tuple(notes), removed, groups, chosen
        )
        _write(folder, result, resolution, apply=apply)
        if chosen is not None and embedder is not None:
            kept = PickFile(embedder=embedder.name, covered=chosen.covered, pictures=chosen.names)
            kept.write(folder.pick_json)
    _notify(result, on_event)
    return result


def run(run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> CheckResult:
    """The stage, as the pipeline calls it; it moves nothing."""
    from veneer.models.embedder import clip_of  # with torch, whose import takes seconds

    embedder = clip_of(recipe, STAGE, on_event)
    return check(run.dataset, resolution=recipe.encode.resolution, embedder=embedder, on_event=on_event)


def _notify_odd_names(dataset: Dataset, on_event: OnEvent) -> None:
    if odd := dataset.odd_names():
        message = f"{counted(len(odd), 'picture')} passed over, whose names are no UTF-8: {some_of(odd)}"
        on_event(Notice(STAGE, "odd-names", message))


def _still_there(dataset: Dataset, findings: Sequence[Finding], on_event: OnEvent) -> list[Finding]:
    """What was found of pictures that nobody deleted meanwhile."""
    gone = {finding.file_name for finding in findings if not (dataset.root / finding.file_name).is_file()}
    if gone:
        message = f"{counted(len(gone), 'picture')} deleted meanwhile: {some_of(sorted(gone))}"
        on_event(Notice(STAGE, "picture-gone", message))
    return [finding for finding in findings if finding.file_name not in gone]


def _inspect(
    dataset: Dataset, names: Sequence[str], resolution: int, on_event: OnEvent
) -> tuple[dict[str, Inspected], list[Finding]]:
    on_event(StageStarted(STAGE, len(names), "pictures"))
    known = read_measures(dataset)
    fresh = fresh_names(dataset, names, known)
    findings: list[Finding] = []
    done = len(names) - len(fresh)
    workers = Workers(inspect_picture, count=processes_for(len(fresh)))
    with open_to_append(dataset.measures_jsonl) as file, workers:
        for name, seen in workers.map((name, (dataset.root / name,)) for name in fresh):
            done += 1
            on_event(Progress(STAGE, done))
            stamp = stamp_of(dataset.root / name)
            known[name] = (stamp, seen.reason if isinstance(seen, Failure) else seen)
            file.write(measure_line(name, stamp, seen))
    inspected: dict[str, Inspected] = {}
    for name in names:
        measured = known[name][1]
        if isinstance(measured, str):
            findings.append(Finding(name, "broken", measured))
        else:
            inspected[name] = measured
            findings += own_findings(name, measured, resolution)
    return inspected, findings


def _find(
    dataset: Dataset,
    seen: Mapping[str, Inspected],
    own: Sequence[Finding],
    *,
    query: str,
    embedder: Embedder | None,
    safety_checker: str,
) -> tuple[list[Finding], list[str], Looked | None]:
    """All findings, what was not looked at, and what the embedder saw.

    Args:
        own: Findings of each picture by itself.
    """
    spoilt = {finding.file_name for finding in own if finding.flag in SPOILING}
    copies = copy_findings(list(seen), list(seen.values()), spoilt)
    copied = {finding.file_name for finding in copies}
    single = {name: measures for name, measures in seen.items() if name not in copied}
    likeness, notes, looked = _see(dataset, single, query, embedder, spoilt)
    unsafe, more_notes = _find_unsafe(dataset.root, list(seen), safety_checker)
    return _sorted([*own, *copies, *likeness, *unsafe]), [*notes, *more_notes, *_tags(dataset)], looked


def _see(
    dataset: Dataset,
    seen: Mapping[str, Inspected],
    query: str,
    embedder: Embedder | None,
    spoilt: Collection[str],
) -> tuple[list[Finding], list[str], Looked | None]:
    if embedder is None:
        notes = ["Not looked at: likeness to the query, and copies that hashes miss (no embedder given)."]
        return [], notes, None
    from veneer.data.embedding_checks import features_of, likeness_findings

    looked = features_of(dataset, list(seen), embedder)
    return *likeness_findings(dataset, seen, looked, query, embedder, spoilt=spoilt), looked


def _spread(
    looked: Looked | None, findings: Sequence[Finding], removed: frozenset[Flag], count: int
) -> tuple[tuple[Alike, ...], Pick | None]:
    """How the pictures spread, and those that differ most, none of which is spoilt or a copy."""
    if looked is None or not looked[0]:
        return (), None
    without = {finding.file_name for finding in findings if finding.flag in removed | SPOILING}
    return groups_of(*looked), diverse(*looked, count, without) if count else None


def _find_unsafe(root: Path, names: Sequence[str], checker: str) -> tuple[list[Finding], list[str]]:
    if checker == "auto":
        on_disk = isinstance(try_to_load_from_cache(USUAL_CHECKER, "config.json"), str)
        checker = USUAL_CHECKER if on_disk else "none"
    if checker == "none":
        return [], ["Not looked at: unsafe content (no checker is installed)."]
    from veneer.data.safety import unsafe_pictures  # with torch, whose import takes seconds

    return unsafe_pictures(root, names, checker), []


def _tags(dataset: Dataset) -> list[str]:
    """How often each tag comes, where captions are tags."""
    note = tag_note([item.caption for item in dataset.read_metadata() if item.caption])
    return [note] if note else []


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    """In the order of weight, each picture once for each flag."""
    unique = {(finding.file_name, finding.flag): finding for finding in reversed(findings)}
    return sorted(unique.values(), key=lambda finding: (FLAGS.index(finding.flag), finding.file_name))


def _by_picture(findings: Sequence[Finding], flags: frozenset[Flag]) -> Mapping[str, Sequence[Finding]]:
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.flag in flags:
            found[finding.file_name].append(finding)
    return found


def _write(dataset: Dataset, result: CheckResult, resolution: int, *, apply: bool) -> None:
    CheckFile(
        pictures=result.pictures,
        resolution=resolution,
        counts=result.counts,
        moved=result.moved if apply else 0,
        notes=tuple(result.notes),
        findings=tuple(FoundFault(**asdict(finding)) for finding in result.findings),
    ).write(dataset.check_json)


def _notify(result: CheckResult, on_event: OnEvent) -> None:
    for flag in result.counts:
        names = [finding.file_name for finding in result.findings if finding.flag == flag]
        message = f"{counted(len(names), 'picture')}: {MEANINGS[flag]}: {some_of(names, 3)}"
        on_event(Notice(STAGE, f"check-{flag}", message))
