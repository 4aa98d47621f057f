"""The work of captioning: describe, look at the captions, describe again where one has a fault."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from veneer import machine, processes
from veneer.captions import STAGE
from veneer.captions.agreement import low_agreement
from veneer.captions.captioner import AGAIN, CAPTION_BATCH_SIZE, FIRST, Decoding
from veneer.captions.describing import Describe, Described, Describer
from veneer.captions.faults import Fault, sameness_key, tag_faults, text_faults, too_common
from veneer.captions.records import (
    CaptionRecord,
    append_journal,
    caption_from_name,
    found_names,
    read_unfinished,
    written_caption,
)
from veneer.config import CaptionTable
from veneer.events import OnEvent, Progress, StageStarted
from veneer.hubnames import is_tagger
from veneer.models.embedder import Embedder
from veneer.records.dataset import Dataset

Records = dict[str, CaptionRecord]
TokenCounter = Callable[[str], int]


class CaptionWork:
    """Generates captions for a data set, and looks at them.

    Args:
        config: Captioner and what is made of its texts.
        count_tokens: Counts CLIP's tokens; None to estimate.
        embedder: A CLIP that tells how well captions fit; None not to look.
        by: Who describes; None for a captioner in this process.
    """

    def __init__(
        self,
        dataset: Dataset,
        caption: CaptionTable,
        count_tokens: TokenCounter | None,
        embedder: Embedder | None,
        on_event: OnEvent,
        *,
        by: Describe | None = None,
    ) -> None:
        self._by = by
        self._folder = dataset
        self._config = caption
        self._count_tokens = count_tokens
        self._embedder = embedder
        self._on_event = on_event
        self._writes_tags = is_tagger(caption.model)
        self._look = tag_faults if self._writes_tags else text_faults
        self._done = 0

    def name_all(self, todo: Sequence[str], records: Records) -> None:
        """Take file and folder names as captions.

        Args:
            todo: Pictures without a caption.
            records: Gets their records.
        """
        names = found_names(self._folder)
        for name in todo:
            text = caption_from_name(names.get(name) or name)
            records[name] = self._record(name, "name", text, attempts=1)

    def describe_all(self, todo: Sequence[str], records: Records) -> None:
        """Ask the captioner, look at what it wrote, and ask again where that has a fault.

        Args:
            todo: Pictures without a caption, the same in every process.
            records: Gets their records, of all processes.

        Raises:
            CaptionerError: If the captioner cannot be loaded.
        """
        if not todo:
            return
        machine.set_threads()
        describe = self._by or Describer(self._folder.root, self._config)
        self._describe(describe, processes.shard(todo), FIRST, records)
        self._share(records, 1)
        unfit = self._unfit(todo, records)
        faults = self._faults(todo, records, unfit)
        again = [] if self._writes_tags else [name for name, found in faults.items() if found]
        if again:
            self._on_event(StageStarted(f"{STAGE} again", len(processes.shard(again)), "captions"))
            self._done = 0
            first = dict(records)
            self._describe(describe, processes.shard(again), AGAIN, records)
            self._share(records, 2)
            unfit_again = self._unfit(todo, records, again)
            better = self._keep_better(first, faults, self._faults(again, records, unfit_again), records)
            unfit = (unfit - better) | (unfit_again & better)
        for name, found in self._faults(todo, records, unfit).items():
            records[name] = replace(records[name], faults=found)

    def _describe(
        self, describe: Describe, names: Sequence[str], decoding: Decoding, records: Records
    ) -> None:
        """Describe in batches that the list of all fixes; what an interrupted command did is taken over."""
        attempts = 1 if decoding is FIRST else 2
        known = self._unfinished(attempts)
        processes.wait_for_everyone()  # all have read before one writes
        batches = [names[at : at + CAPTION_BATCH_SIZE] for at in range(0, len(names), CAPTION_BATCH_SIZE)]
        left = [batch for batch in batches if set(batch) - set(known)]
        missing = {name for batch in left for name in batch}
        records.update({name: known[name] for name in names if name not in missing})
        self._done += len(names) - len(missing)
        for described in describe(left, decoding):
            self._take(described, attempts, records)

    def _take(self, described: Described, attempts: int, records: Records) -> None:
        for notice in described.told:
            self._on_event(notice)
        new = [self._record(name, "model", text, attempts=attempts) for name, text in described.texts]
        if new:
            append_journal(self._folder, processes.rank(), new)
            records.update({record.file_name: record for record in new})
            self._done += len(new)
            self._on_event(Progress(STAGE, self._done, new[-1].caption))

    def _unfinished(self, attempts: int) -> Records:
        """What an interrupted command, or another process, generated in a round, as it is written now."""
        found = read_unfinished(self._folder).get(attempts, {})
        return {
            name: self._record(name, "model", record.text, attempts=attempts)
            for name, record in found.items()
            if record.model == self._config.model
        }

    def _record(self, name: str, by: str, text: str, *, attempts: int) -> CaptionRecord:
        words = written_caption(text, self._config)
        faults = self._look(text, self._count_tokens) or self._look(words, self._count_tokens)
        return CaptionRecord(
            file_name=name,
            by="model" if by == "model" else "name",
            text=text,
            caption=words,
            model=self._config.model,
            trigger=self._config.trigger,
            faults=faults,
            attempts=attempts,
        )

    def _share(self, records: Records, attempts: int) -> None:
        """Wait for the other processes, and read what they wrote."""
        processes.wait_for_everyone()
        if processes.num_processes() > 1:
            records.update(self._unfinished(attempts))
        processes.wait_for_everyone()  # all have read before one writes again

    def _faults(
        self, names: Sequence[str], records: Records, unfit: Collection[str]
    ) -> dict[str, tuple[Fault, ...]]:
        common = too_common(sameness_key(record.text) for record in records.values() if record.by == "model")
        faults: dict[str, tuple[Fault, ...]] = {}
        for record in (records[name] for name in names if name in records):
            found = list(self._look(record.text) or self._look(record.caption, self._count_tokens))
            if record.text and sameness_key(record.text) in common:
                found.append("same-as-others")
            if record.file_name in unfit:
                found.append("low-agreement")
            faults[record.file_name] = tuple(found)
        return faults

    def _unfit(
        self, todo: Sequence[str], records: Records, changed: Collection[str] | None = None
    ) -> frozenset[str]:
        """Pictures of low agreement; with ``changed`` only those of them."""
        if self._embedder is None:
            return frozenset()
        pairs = [(name, records[name].text) for name in todo if name in records and records[name].text]
        return low_agreement(self._embedder, self._folder.root, pairs, changed)

    def _keep_better(
        self,
        first: Records,
        faults: Mapping[str, Sequence[Fault]],
        faults_again: Mapping[str, Sequence[Fault]],
        records: Records,
    ) -> frozenset[str]:
        """Take the second caption where it has fewer faults than the first; returns where."""
        better = frozenset(name for name, found in faults_again.items() if len(found) < len(faults[name]))
        for name in faults_again.keys() - better:
            records[name] = replace(first[name], attempts=2)
        return better
