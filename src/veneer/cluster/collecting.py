"""``collect`` over a cluster: fetched and decoded on many machines, entered by the one that leads.

Sources are asked, copies told and names given in one place and in the order of one machine, so the data set
is the same.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from veneer.cluster.pool import Answer, Pool, answering
from veneer.cluster.session import Session
from veneer.config import Recipe
from veneer.data.download import Downloader, Missed, Reach
from veneer.data.executors import Fetches
from veneer.data.standard import Standardised, standardise
from veneer.data.worker import Failure, J, Workers
from veneer.errors import DatasetError
from veneer.events import OnEvent, ignore
from veneer.records.run import RunDir
from veneer.stages import collect
from veneer.stages.collect import CollectResult


def collect_over(
    session: Session,
    run: RunDir,
    recipe: Recipe,
    on_event: OnEvent = ignore,
    *,
    allow_private_addresses: bool = False,
) -> CollectResult:
    """The stage over a cluster.

    Raises:
        DatasetError: If a source does not exist, a machine does not see it, or there are too few pictures.
        NetworkError: If the network is dead, or gave too little; what was got is kept.
    """
    return collect.run(
        run,
        recipe,
        on_event,
        allow_private_addresses=allow_private_addresses,
        executor=ClusterExecutor(session),
    )


class ClusterExecutor:
    """Who fetches pictures and brings them into the data set's form: processes of a cluster."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def fetching(self, own: Downloader) -> Iterator[Fetches]:
        """Clients with the limits of this process's one, which is left to ask sources."""
        reach = own.reach
        with Pool(self._session, Client, (reach,), at_once=reach.connections) as pool:
            client = RemoteDownloader(pool, reach)
            try:
                yield client
            finally:
                client.threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def standardising(self) -> Iterator[RemoteStandards]:
        """Processes that decode pictures, each in a process that may hang or crash without harm."""
        with Pool(self._session, Standards) as pool:
            yield RemoteStandards(pool)


class RemoteDownloader:
    """Fetches files in processes of a cluster; to one host together no more than one process would.

    Args:
        reach: Limits of each of them.
    """

    def __init__(self, pool: Pool, reach: Reach) -> None:
        connections = reach.connections * pool.size
        self.reach = replace(reach, connections=connections)
        self.threads = ThreadPoolExecutor(connections, thread_name_prefix="cluster-download")
        self._pool = pool
        self._lock = threading.Lock()
        self._hosts: defaultdict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(reach.per_host)
        )

    def file(self, address: str, target: Path) -> Missed | None:
        """Fetch a file; None where it is there, otherwise why not."""
        with self._lock:
            turn = self._hosts[_host_of(address)]
        with turn:
            missed: Missed | None = self._pool.call("fetch", (address, str(target.resolve())))
        return missed


class RemoteStandards:
    """Brings pictures into the data set's form in processes of a cluster."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def map(self, jobs: Iterable[tuple[J, tuple[Path, Path]]]) -> Iterator[tuple[J, Standardised | Failure]]:
        """Do jobs side by side, and give their labels and results in order."""
        labels: deque[J] = deque()

        def work() -> Iterator[tuple[str, str]]:
            for label, (source, target) in jobs:
                labels.append(label)
                yield str(source.resolve()), str(target.resolve())

        for answer in self._pool.in_order("standardise", work()):
            yield labels.popleft(), answer.value


class Client:
    """A process of the cluster that fetches files, with the guard and the limits of one machine."""

    def __init__(self, reach: Reach) -> None:
        self._downloader = Downloader(reach)

    def fetch(self, piece: tuple[str, str]) -> Answer:
        """Fetch a file from an address to a path."""
        address, target = piece
        return answering(lambda: self._downloader.file(address, Path(target)))


class Standards:
    """A process of the cluster that brings pictures into the data set's form."""

    def __init__(self) -> None:
        self._guarded: Workers[Any] = Workers(standardise, count=1)

    def standardise(self, piece: tuple[str, str]) -> Answer:
        """Bring the picture at one path into form at another."""
        source, target = Path(piece[0]), Path(piece[1])

        def work() -> Standardised | Failure:
            if not source.is_file():
                todo = "Put the pictures on a disk that every machine has under the same path"
                raise DatasetError("a machine of the cluster does not see it", where=str(source), todo=todo)
            made: Standardised | Failure = self._guarded.call(source, target)
            return made

        return answering(work)


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:  # such as http://[
        return ""
