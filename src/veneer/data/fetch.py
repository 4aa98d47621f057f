"""Ask all sources, and fetch what they have found side by side and in order; files pass through."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from veneer.choices import SEARCHES
from veneer.data.download import Missed
from veneer.data.executors import Fetches
from veneer.data.hub import hub_pictures
from veneer.data.sources import Found, folder_pictures, pocket_pictures
from veneer.data.websources import (
    Web,
    catalogue_pictures,
    listed_pictures,
    scratch_file,
    searched_pictures,
)

MANY_DEAD = 12
"""Addresses in a row without a connection, on at least three hosts, that make the network count as dead."""

MANY_DEAD_ALIKE = 40
"""The same where they are on fewer hosts."""

DEAD = "not tried: the network is dead"

Fetched = tuple[Found, Missed | None]


def find_pictures(
    sources: Sequence[str], out: Path, limit: int | None, web: Web, *, follow_links: bool = False
) -> Iterator[Found]:
    """Ask all sources: first those with an end, in their order, then the searches, which take turns.

    Args:
        out: The data set that is written, never read as a source.
        limit: Most pictures wanted; None for all.
        web: What sources on the web need.
        follow_links: Whether links in folders are followed that lead out of them.

    Yields:
        What they find, as far as it is asked for.
    """
    for source in sources:
        if source == "pocket":
            yield from pocket_pictures(web.on_event)
        elif source.startswith("urls:"):
            path = Path(source.removeprefix("urls:")).expanduser()
            yield from listed_pictures(source, path, web.on_event)
        elif source.startswith("hf:"):
            yield from hub_pictures(source, limit, web)
        elif not source.startswith(SEARCHES):
            folder = Path(source).expanduser()
            yield from folder_pictures(source, folder, out, web.on_event, follow_links=follow_links)
    yield from _in_turns([_search(source, web) for source in sources if source.startswith(SEARCHES)])


def _search(source: str, web: Web) -> Iterator[Found]:
    is_bing = source.startswith("bing:")
    return searched_pictures(source, web) if is_bing else catalogue_pictures(source, web)


def _in_turns(searches: Sequence[Iterator[Found]]) -> Iterator[Found]:
    waiting = deque(searches)
    while waiting:
        search = waiting.popleft()
        found = next(search, None)
        if found is not None:
            waiting.append(search)
            yield found


class Fetcher:
    """Fetches files into a folder.

    Args:
        downloader: The client.
    """

    def __init__(self, downloader: Fetches, scratch: Path) -> None:
        self._downloader = downloader
        self._scratch = scratch
        self._dead_in_a_row: list[str] = []

    @property
    def _network_is_dead(self) -> bool:
        dead = len(self._dead_in_a_row)
        return dead >= MANY_DEAD_ALIKE or (dead >= MANY_DEAD and len(set(self._dead_in_a_row)) >= 3)

    def fetch(self, found: Iterator[Found]) -> Iterator[Fetched]:
        """Fetch pictures, a few ahead of the one that is asked for.

        Args:
            found: What sources have found.

        Yields:
            In the same order: each with its file, or why there is none.
        """
        waiting: deque[Found | Future[Fetched]] = deque()
        for one in found:
            waiting.append(one if one.path else self._downloader.threads.submit(self._one, one))
            if len(waiting) >= 2 * self._downloader.reach.connections or one.path:
                yield from self._give(waiting, 2 * self._downloader.reach.connections)
        yield from self._give(waiting, 0)

    def _give(self, waiting: deque[Found | Future[Fetched]], leave: int) -> Iterator[Fetched]:
        while len(waiting) > leave or (waiting and isinstance(waiting[0], Found)):
            first = waiting.popleft()
            if isinstance(first, Found):
                yield first, None
                continue
            found, missed = first.result()
            no_connection = missed is not None and missed.passing and missed.status == 0
            if no_connection:
                self._dead_in_a_row.append(_host(found.origin))
            elif missed is None or missed.status:
                self._dead_in_a_row.clear()
            yield found, missed

    def _one(self, found: Found) -> Fetched:
        if self._network_is_dead:
            return found, Missed(DEAD, passing=True)
        name = _file_name(found.origin)
        target = scratch_file(self._scratch, found.origin, PurePosixPath(name).suffix)
        if not target.exists():  # an interrupted command may have fetched it
            missed = self._downloader.file(found.origin, target)
            if missed is not None:
                return found, missed
        return replace(found, path=target, temporary=True, facts={**found.facts, "name": name}), None


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:  # such as http://[
        return ""


def _file_name(address: str) -> str:
    """What an address calls its file; empty where it does not."""
    try:
        return PurePosixPath(urlsplit(address).path).name if "://" in address else ""
    except ValueError:
        return ""
