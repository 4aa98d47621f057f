"""Collect pictures into a data-set folder: ``veneer collect SOURCE... --out DATASET``.

Every picture gets a standard form and name, and an entry in provenance.jsonl; what cannot be used goes to
``rejected/`` with its reason. The same command again goes on where it stopped and takes nothing twice.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from veneer.arguments import PathLike, given_path, given_texts
from veneer.config import CollectTable, Recipe
from veneer.data.catalogues import CATALOGUES
from veneer.data.download import PART, Downloader, Missed, Reach
from veneer.data.executors import Executor, LocalExecutor
from veneer.data.fetch import DEAD, MANY_DEAD, Fetcher, find_pictures
from veneer.data.hub import refuse_wrong_options
from veneer.data.picture import begins_as_picture
from veneer.data.provenance import Provenance
from veneer.data.search import BING
from veneer.data.sources import SOURCE_KINDS, Found, refuse_unknown
from veneer.data.standard import Standardised
from veneer.data.websources import Web, refuse_wrong_queries
from veneer.data.worker import Failure
from veneer.errors import DISK_FULL, DatasetError, NetworkError, is_disk_full
from veneer.events import Event, Notice, OnEvent, Progress, StageStarted, ignore
from veneer.notebook import in_notebook
from veneer.records.dataset import MIN_PICTURES, Dataset
from veneer.records.files import write_bytes
from veneer.records.locks import locked
from veneer.records.metadata import MetadataRow
from veneer.records.names import find_mask, mask_of
from veneer.records.provenance import read_provenance
from veneer.records.rejected import read_rejected
from veneer.records.run import RunDir
from veneer.text import counted

STAGE = "collect"


@dataclass(frozen=True)
class CollectResult:
    """What collecting gave.

    Attributes:
        pictures: Pictures in it now.
        added: Pictures added by this command.
        known: Pictures that an earlier command had seen already.
        rejected: Pictures left out by this command.
        reasons: Why, and how many each.
        captioned: Pictures that came with a caption, of those added.
        left_out: Why pictures were left out, and how many each, by this command and those before.
        with_caption: Pictures with a caption, of all.
    """

    root: Path
    pictures: int
    added: int
    known: int
    rejected: int
    reasons: Mapping[str, int]
    captioned: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    with_caption: int = 0

    @property
    def summary(self) -> str:
        """One line of what there is now, the same however often the command was interrupted."""
        parts = [f"{self.pictures} pictures in {self.root}"]
        if self.with_caption:
            parts.append(f"{self.with_caption} of them with a caption")
        if self.left_out:
            parts.append(f"{sum(self.left_out.values())} left out ({_counted(self.left_out)})")
        return ", ".join(parts)

    @property
    def news(self) -> str:
        """What this command did; empty where nothing came before it."""
        return f"{self.added} new, {self.known} seen before" if self.known else ""


def collect(
    sources: PathLike | Sequence[PathLike],
    out: PathLike,
    collect: CollectTable = CollectTable(),  # noqa: B008 - frozen
    on_event: OnEvent = in_notebook,
    *,
    allow_private_addresses: bool = False,
    reach: Reach = Reach(),  # noqa: B008 - frozen
    search_address: str = BING,
    catalogues: Mapping[str, str] = CATALOGUES,
    follow_links: bool = False,
    executor: Executor = LocalExecutor(),  # noqa: B008 - has no state
) -> CollectResult:
    """Collect pictures from all sources.

    Folders come first to last; results of several searches take turns, so that a limit is shared fairly.

    Args:
        sources: Folders, `openverse:QUERY`, `commons:QUERY`, `bing:QUERY`, `urls:FILE`, `hf:NAME`, or
            `pocket`.
        out: The data-set folder; made where it does not exist, extended where it does.
        collect: Limits; its own ``sources`` are not read.
        allow_private_addresses: Whether downloads may reach private, loopback and link-local addresses.
        reach: Further limits of the client; its size comes from ``config``.
        catalogues: Addresses of Openverse and Commons.
        follow_links: Whether links in folders are followed that lead out of them.
        executor: Who fetches pictures and brings them into the data set's form.

    Returns:
        What was collected.

    Raises:
        DatasetError: If a source does not exist, or the data set has fewer than 4 pictures in the end.
        NetworkError: If the network is dead, or gave too little; what was got is kept.
    """
    sources, out = given_texts(sources, "sources"), given_path(out, "out")
    if not sources:
        raise DatasetError("no source given", where="collect.sources", todo=f"Name {SOURCE_KINDS}")
    refuse_unknown(sources)
    refuse_wrong_queries(sources)
    refuse_wrong_options(sources)
    dataset = Dataset(out)
    with locked(out, "data set"):
        ledger = Provenance(dataset)
        tally = _Tally(ledger, collect, on_event)
        on_event(StageStarted(STAGE, collect.limit, "pictures"))
        with (
            _as_run_error(out, tally),
            _scratch(out) as scratch,
            Downloader(_reach(reach, collect, allow_private_addresses)) as downloader,
            executor.fetching(downloader) as fetching,
        ):
            pages = out / "search-pages"
            web = Web(downloader, scratch, pages, tally.listen, search_address, catalogues)
            found = find_pictures(sources, out, collect.limit, web, follow_links=follow_links)
            fetched = Fetcher(fetching, scratch).fetch(tally.new(found))
            with executor.standardising() as workers:
                for (one, partial), made in workers.map(tally.jobs(fetched)):
                    tally.enter(one, partial, made)
                    if tally.is_full:
                        break
            _add_captions(dataset)
    result = tally.result()
    _refuse_failure(result, dataset, tally)
    return result


def run(
    run: RunDir,
    recipe: Recipe,
    on_event: OnEvent = ignore,
    *,
    allow_private_addresses: bool = False,
    executor: Executor = LocalExecutor(),  # noqa: B008 - has no state
) -> CollectResult:
    """The stage, as the pipeline calls it."""
    return collect(
        recipe.collect.sources,
        run.dataset,
        recipe.collect,
        on_event,
        allow_private_addresses=allow_private_addresses,
        executor=executor,
    )


class _Tally:
    """Counts what one command takes and leaves out, and enters it into the books."""

    def __init__(self, ledger: Provenance, collect: CollectTable, on_event: OnEvent) -> None:
        self._ledger = ledger
        self._config = collect
        self._on_event = on_event
        self._pictures = sum(1 for _ in ledger.dataset.picture_names())
        self._added = self._captioned = self._known = 0
        self._met: set[str] = set()
        self.reasons: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.network_is_dead = False

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self._config.limit is not None and self._pictures >= self._config.limit

    def listen(self, event: Event) -> None:
        """Pass an event on, and remember what went wrong with a search."""
        if isinstance(event, Notice) and event.code in {
            "search-stopped",
            "no-results",
            "no-results-understood",
        }:
            self.troubles.append(event.message)
        self._on_event(event)

    def new(self, found: Iterator[Found]) -> Iterator[Found]:
        """Leave out what an earlier command has seen."""
        for one in found:
            if self.is_full:
                return
            if self._ledger.knows(one.origin, one.stamp) or one.origin in self._met:
                if one.origin not in self._met:
                    self._met.add(one.origin)
                    self._recall(one)
                _forget(one)
            else:
                self._met.add(one.origin)
                if one.fault:
                    self._refuse(one, one.fault, keep=False)
                else:
                    yield one

    def _recall(self, found: Found) -> None:
        """Count what an earlier command has seen, and tell again what it left out."""
        self._known += 1
        reason = self._ledger.reasons.get(found.origin)
        if reason is not None:
            self._before[reason.partition(":")[0]] += 1
            self._on_event(Notice(STAGE, "picture-rejected", f"{found.origin}: {reason}"))

    def jobs(
        self, fetched: Iterator[tuple[Found, Missed | None]]
    ) -> Iterator[tuple[tuple[Found, Path], tuple[Path, Path]]]:
        """Turn what was fetched and is not too large into jobs of `standardise`."""
        for found, missed in fetched:
            if missed is not None:
                self._miss(found, missed)
            elif found.path is None or self.is_full:
                _forget(found)
            elif not found.path.is_file():
                self._refuse(found, "no such file: it was deleted meanwhile", keep=False)
            elif found.path.stat().st_size > self._config.max_file_mib * 2**20:
                self._refuse(found, f"larger than {self._config.max_file_mib:g} MiB", keep=False)
            else:
                partial = self._ledger.new_partial()
                yield (found, partial), (found.path, partial)

    def enter(self, found: Found, partial: Path, made: Standardised | Failure) -> None:
        """Enter one picture, or leave it out."""
        if isinstance(made, Failure):
            self._refuse(found, made.reason)
        elif made.sha256 in self._ledger.by_sha256:
            same = self._ledger.by_sha256[made.sha256]
            self._refuse(found, "same bytes as another picture", keep=False, same_as=same)
        else:
            facts = {"caption": found.caption, **found.facts}
            name = self._ledger.accept(found.origin, partial, made, facts)
            self._take_mask(found, name)
            self._added += 1
            self._pictures += 1
            self._captioned += bool(found.caption.strip())
        partial.unlink(missing_ok=True)
        _forget(found)
        detail = f"{self.reasons.total()} left out" if self.reasons else ""
        self._on_event(Progress(STAGE, self._added, detail))

    def result(self) -> CollectResult:
        """Sum up."""
        return CollectResult(
            root=self._ledger.dataset.root,
            pictures=self._pictures,
            added=self._added,
            known=self._known,
            rejected=self.reasons.total(),
            reasons=dict(self.reasons),
            captioned=self._captioned,
            left_out=dict(self.reasons + self._before),
            with_caption=sum(bool(item.caption) for item in self._ledger.dataset.read_metadata()),
        )

    def _refuse(self, found: Found, reason: str, *, keep: bool = True, same_as: str = "") -> None:
        optional = {"same_as": same_as, "caption": found.caption, "stamp": found.stamp}
        more = {key: value for key, value in optional.items() if value}
        kept = found.path if keep and found.path is not None and begins_as_picture(found.path) else None
        self._ledger.refuse(found.origin, reason, kept, **found.facts, **more)
        self.reasons[reason.partition(":")[0]] += 1
        self._on_event(Notice(STAGE, "picture-rejected", f"{found.origin}: {reason}"))

    def _miss(self, found: Found, missed: Missed) -> None:
        """A lasting failure goes into the books; after a passing one the same command tries again."""
        if not missed.passing:
            self._refuse(found, missed.reason, keep=False)
            return
        self.network_is_dead = self.network_is_dead or missed.reason == DEAD
        self.reasons[missed.reason.partition(":")[0]] += 1
        self._on_event(
            Notice(STAGE, "not-fetched", f"{found.origin}: {missed.reason}; tried again next time", True)
        )

    def _take_mask(self, found: Found, name: str) -> None:
        mask = find_mask(found.path) if found.path is not None else None
        if mask is not None:
            write_bytes(mask_of(self._ledger.dataset.root / name), mask.read_bytes())


def _reach(reach: Reach, collect: CollectTable, allow_private_addresses: bool) -> Reach:
    allowed = (lambda _: True) if allow_private_addresses else reach.is_allowed
    return replace(reach, max_bytes=int(collect.max_file_mib * 2**20), is_allowed=allowed)


@contextmanager
def _as_run_error(out: Path, tally: _Tally) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DatasetError(
            DISK_FULL,
            where=str(out),
            todo=f"Free some space; the same command goes on from here, with "
            f"{counted(tally.result().pictures, 'picture')} kept",
        ) from error


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder for downloads; what an interrupted command fetched whole is there for the next one."""
    folder = out / ".downloads"
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(f"*{PART}"):
        part.unlink()
    try:
        yield folder
    except Exception:  # such as a full disk; only an interruption leaves what it has
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _forget(found: Found) -> None:
    if found.temporary and found.path is not None:
        found.path.unlink(missing_ok=True)


def _add_captions(dataset: Dataset) -> None:
    """Add the new pictures to the metadata; lines that are there stay as they are.

    A picture that came without a caption gets that of a copy which was left out.
    """
    known = {item.file_name for item in dataset.read_metadata()}
    with_caption = (one for one in read_rejected(dataset) if one.told("caption"))
    copies = {one.told("same_as"): one.told("caption") for one in with_caption}
    new = [
        MetadataRow(name, one.told("caption") or copies.get(name, ""), (), one.facts.get("extra", {}))
        for one in read_provenance(dataset)
        if (name := one.file_name) not in known and (dataset.root / name).is_file()
    ]
    if new or not known:
        dataset.add_rows(new)


def _refuse_failure(result: CollectResult, dataset: Dataset, tally: _Tally) -> None:
    if tally.network_is_dead and not tally.is_full:
        raise NetworkError(
            f"the network is dead: {MANY_DEAD} addresses in a row gave no connection",
            where=str(dataset.root),
            todo=f"{result.pictures} pictures are kept; the same command goes on when it is back",
        )
    if result.pictures >= MIN_PICTURES:
        return
    what = "no pictures" if result.pictures == 0 else f"only {result.pictures} usable pictures"
    left_out = f"; {result.rejected} left out ({_counted(tally.reasons)})" if result.rejected else ""
    seen = f"; {result.known} seen by an earlier command" if result.known else ""
    trouble = "".join(f"; {line}" for line in tally.troubles)
    kept = dataset.reasons_jsonl.is_file()
    where = f"; what was left out, and why, is in {dataset.rejected}" if kept else ""
    raise (NetworkError if trouble else DatasetError)(
        f"{what}, at least {MIN_PICTURES} are needed{left_out}{seen}{trouble}",
        where=str(dataset.root),
        todo=f"Add pictures to the source{where}",
    )


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda x: (-x[1], x[0]))
    )
