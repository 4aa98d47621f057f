"""Give every picture a caption: ``veneer caption DATASET``.

A model describes the pictures that have none; a person's words are never written over. Captions with a fault
are asked for once more with other settings, and listed where that does not help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from veneer import processes
from veneer.captions import STAGE
from veneer.captions.captioning import CaptionWork, Records, TokenCounter
from veneer.captions.describing import Describe
from veneer.captions.faults import Fault
from veneer.captions.records import (
    begin_records,
    plan_item,
    read_records,
    read_unfinished,
    write_records,
)
from veneer.config import CaptionTable, Recipe
from veneer.data.folders import list_folder
from veneer.data.sidecars import FolderCaptions, is_caption_name
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent, StageStarted, ignore
from veneer.models.embedder import Embedder, clip_of
from veneer.notebook import in_notebook
from veneer.records.dataset import AnyDataset, Dataset, Item, dataset_of
from veneer.records.locks import locked
from veneer.records.run import RunDir
from veneer.records.spellings import assign
from veneer.text import counted, some_of

_ADVICE: Mapping[Fault, str] = {
    "empty": "the model said nothing; write them by hand",
    "loop": "the model went round in circles",
    "artefact": "the model made up a word",
    "too-long": "more than CLIP's 77 tokens; what is beyond is not read in training",
    "same-as-others": "many pictures share one caption, which says little about each",
    "low-agreement": "the caption fits other pictures of the set as well as its own",
}


@dataclass(frozen=True)
class CaptionResult:
    """What captioning gave.

    Attributes:
        generated: Captions that this command generated, or would generate (``dry_run``).
        kept: Captions of an earlier command.
        by_person: Captions that a person wrote or edited.
        edited: Those of them that a model wrote first.
        asked_again: Captions that had a fault and were asked for once more.
        faults: What is wrong with captions in the end, and how many.
        pruned: Lines of the metadata that named no picture and were taken out.
        dry_run: Whether nothing was written.
    """

    root: Path
    pictures: int
    generated: int
    kept: int
    by_person: int
    edited: int
    asked_again: int
    faults: Mapping[Fault, int]
    pruned: int = 0
    dry_run: bool = False

    @property
    def summary(self) -> str:
        """One line of what there is now, or of what would be done (``dry_run``)."""
        if self.dry_run:
            parts = [f"{self.generated} of {self.pictures} pictures to caption"]
            parts += [f"{self.kept} captioned before"] if self.kept else []
        else:
            parts = [f"{self.generated + self.kept} of {self.pictures} pictures captioned"]
        if self.by_person:
            parts.append(f"{self.by_person} by a person ({self.edited} edited)")
        if self.asked_again:
            parts.append(f"{self.asked_again} asked again")
        parts += [f"{count} {fault}" for fault, count in self.faults.items()]
        if self.pruned:
            parts.append(f"{counted(self.pruned, 'line')} without a picture taken out")
        return ", ".join(parts)

    @property
    def news(self) -> str:
        """What this command did of it; empty where nothing came before it."""
        return f"{self.generated} now, {self.kept} before" if self.kept and not self.dry_run else ""


def caption(
    dataset: AnyDataset,
    caption: CaptionTable = CaptionTable(),  # noqa: B008 - frozen
    on_event: OnEvent = in_notebook,
    *,
    overwrite: bool = False,
    again: Collection[str] = (),
    dry_run: bool = False,
    prune: bool = False,
    count_tokens: TokenCounter | None = None,
    embedder: Embedder | None = None,
    by: Describe | None = None,
) -> CaptionResult:
    """Give every picture of a data set a caption.

    Args:
        dataset: The data-set folder.
        caption: Captioner and what is made of its texts.
        overwrite: Whether generated captions are generated again; a person's stay all the same.
        again: Pictures that are described anew, whoever wrote their captions.
        dry_run: Whether to count only, and write nothing.
        prune: Whether to only take lines out of the metadata that name no picture, and caption nothing; the
            file as it was is kept beside it.
        count_tokens: Counts CLIP's tokens; without it the embedder's are counted, or they are estimated.
        embedder: A CLIP that tells how well captions fit; without it that is not looked at.
        by: Who describes pictures; without it a captioner in this process.

    Returns:
        What was captioned.

    Raises:
        DatasetError: If the folder or its metadata cannot be used.
        CaptionerError: If the captioner cannot be loaded.
    """
    folder = dataset_of(dataset)
    dataset = folder.root
    with nullcontext() if dry_run else locked(dataset, "data set"):
        pruned = _prune(folder, dry_run=dry_run) if prune else 0
        read = folder.items(ignore_missing=prune)
        items = read if prune else _with_texts(folder, read, on_event)
        if not items:
            raise DatasetError("no pictures", where=str(dataset), todo="Collect some with `veneer collect`")
        records, todo = _plan(items, folder, caption, again, overwrite=overwrite)
        result = _counts(dataset, records, items, generated=len(todo))
        half_done = _half_done(folder, items, records)
        if dry_run or prune:
            generated = len(todo) + len(half_done) if dry_run else 0
            return replace(result, generated=generated, pruned=pruned, dry_run=dry_run)
        processes.wait_for_everyone()  # all have read what is there before one adds to it
        work = CaptionWork(folder, caption, count_tokens or _counter_of(embedder), embedder, on_event, by=by)
        on_event(StageStarted(STAGE, len(processes.shard([*todo, *half_done])), "captions"))
        describe = work.name_all if caption.model == "none" else work.describe_all
        for name in half_done:
            del records[name]
        describe([item.file_name for item in items if item.file_name in {*todo, *half_done}], records)
        if processes.is_main_process():
            _write(folder, read, records, on_event)
            _notify_faults(records, on_event)
        processes.wait_for_everyone()
    faults = Counter(fault for record in records.values() for fault in record.faults)
    asked_again = sum(record.by == "model" and record.attempts > 1 for record in records.values())
    return replace(result, asked_again=asked_again, faults=dict(faults))


def _half_done(folder: Dataset, items: Sequence[Item], records: Records) -> frozenset[str]:
    """Pictures that an interrupted command described, and whose captions were not looked at as a whole."""
    told = {name for round_ in read_unfinished(folder).values() for name in round_}
    empty = {item.file_name for item in items if not item.caption.strip()}
    return frozenset(name for name in told & empty if name in records and records[name].by == "model")


def _counts(root: Path, records: Records, items: Sequence[Item], *, generated: int) -> CaptionResult:
    counts = Counter(record.by for record in records.values())
    return CaptionResult(
        root=root,
        pictures=len(items),
        generated=generated,
        kept=counts["model"] + counts["name"],
        by_person=counts["person"],
        edited=sum(record.edited for record in records.values()),
        asked_again=0,
        faults={},
    )


def run(
    run: RunDir, recipe: Recipe, on_event: OnEvent = ignore, *, by: Describe | None = None
) -> CaptionResult:
    """The stage, as the pipeline calls it; the CLIP loads only where a model is asked."""
    table = recipe.caption
    asks_a_model = table.model != "none" and caption(run.dataset, table, dry_run=True).generated > 0
    embedder = clip_of(recipe, STAGE, on_event) if asks_a_model else None
    return caption(run.dataset, table, on_event, embedder=embedder, by=by)


def caption_again(
    folder: Path, names: Collection[str], table: CaptionTable, on_event: OnEvent = ignore
) -> CaptionResult:
    """Have pictures described anew, whoever wrote their captions.

    Args:
        names: Which pictures; their captions stand until the new ones are there.
        table: The captioner, and what is made of its texts.

    Returns:
        What was captioned.
    """
    return caption(folder, table, on_event, again=names)


def _with_texts(dataset: Dataset, items: Sequence[Item], on_event: OnEvent) -> list[Item]:
    """Give pictures without a caption the text file beside them, as people put it there by hand."""
    listing = list_folder(dataset.root, (is_caption_name,))
    captions = FolderCaptions(dataset.root, listing.files, [item.file_name for item in items])
    if odd := dataset.odd_names():
        message = f"{counted(len(odd), 'picture')} passed over, whose names are no UTF-8: {some_of(odd)}"
        on_event(Notice(STAGE, "odd-names", message))
    for notice in (*listing.notices(STAGE, str(dataset.root)), *captions.notices(STAGE, str(dataset.root))):
        on_event(notice)
    found = [
        replace(item, caption=captions.items[item.file_name].caption)
        if not item.caption and item.file_name in captions.items
        else item
        for item in items
    ]
    taken = [new.file_name for new, old in zip(found, items, strict=True) if new.caption and not old.caption]
    if taken:
        message = f"{counted(len(taken), 'caption')} taken from files beside the pictures: {some_of(taken)}"
        on_event(Notice(STAGE, "caption-from-text", message))
    return found


def _counter_of(embedder: Embedder | None) -> TokenCounter | None:
    if embedder is None or embedder.tokenizer is None:
        return None
    tokenizer = embedder.tokenizer
    return lambda text: len(tokenizer(text)["input_ids"])


def _plan(
    items: Sequence[Item],
    folder: Dataset,
    caption: CaptionTable,
    again: Collection[str],
    *,
    overwrite: bool,
) -> tuple[Records, list[str]]:
    known = read_records(folder, {item.file_name: item.caption.strip() for item in items})
    records: Records = {}
    todo = []
    for item in items:
        planned = plan_item(item, known.get(item.file_name), caption, overwrite=overwrite)
        if planned is None or item.file_name in again:
            todo.append(item.file_name)
        else:
            records[item.file_name] = planned
    return records, todo


def _prune(dataset: Dataset, *, dry_run: bool) -> int:
    """Take lines out that name no picture, and keep a copy of the file; how many they are."""
    lines = [item.file_name for item in dataset.read_metadata()]
    meant = assign(lines, dataset.picture_names(), dataset.root)
    lost = [name for name in lines if name not in meant]
    if lost and not meant:
        raise DatasetError(
            f"none of the {counted(len(lines), 'line')} names a picture of this folder: {some_of(lost, 3)}",
            where=str(dataset.metadata_file),
            todo="Nothing is taken out; write file_name as the files have it, relative to the folder",
        )
    if lost and not dry_run and processes.is_main_process():
        dataset.remove_items(lost, copy=True)
    return len(lost)


def _write(dataset: Dataset, read: Sequence[Item], records: Records, on_event: OnEvent) -> None:
    """Metadata first: a kill in between leaves the journals, from which the next command goes on."""
    begin_records(dataset, (records[item.file_name] for item in read if item.file_name in records))
    before = {item.file_name: item.caption for item in read}
    kept = dataset.write_captions({name: record.caption for name, record in records.items()}, before)
    if kept:
        message = f"{counted(len(kept), 'caption')} edited meanwhile, and kept: {some_of(sorted(kept))}"
        on_event(Notice(STAGE, "caption-edited", message))
    write_records(dataset, (records[item.file_name] for item in read if item.file_name in records))


def _notify_faults(records: Records, on_event: OnEvent) -> None:
    for fault, advice in _ADVICE.items():
        names = [name for name, record in records.items() if fault in record.faults]
        if names:
            message = f"{counted(len(names), 'caption')}: {advice}: {some_of(names)}"
            on_event(Notice(STAGE, f"caption-{fault}", message))
