"""Who fetches pictures and brings them into the data set's form: this process, or others in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

from veneer.data.download import Downloader, Missed, Reach
from veneer.data.standard import Standardised, standardise
from veneer.data.worker import Failure, J, Workers

_T = TypeVar("_T")


class Threads(Protocol):
    """Threads in which a few files are fetched at a time."""

    def submit(self, function: Callable[..., _T], /, *arguments: Any) -> Future[_T]:
        """Call a function in one of them."""


class Fetches(Protocol):
    """What fetches files."""

    @property
    def reach(self) -> Reach:
        """Its limits."""

    @property
    def threads(self) -> Threads:
        """Threads to fetch in."""

    def file(self, address: str, target: Path) -> Missed | None:
        """Fetch a file; None where it is there, otherwise why not."""


class Standardises(Protocol):
    """What brings pictures into the data set's form."""

    def map(self, jobs: Iterable[tuple[J, tuple[Path, Path]]]) -> Iterator[tuple[J, Standardised | Failure]]:
        """Do jobs side by side, and give their labels and results in order."""


class Executor(Protocol):
    """Who does the work of collecting."""

    def fetching(self, own: Downloader) -> AbstractContextManager[Fetches]:
        """What fetches pictures; ``own`` is this process's client."""

    def standardising(self) -> AbstractContextManager[Standardises]:
        """What brings pictures into the data set's form."""


class LocalExecutor:
    """This process, and workers on its machine."""

    def fetching(self, own: Downloader) -> AbstractContextManager[Fetches]:
        """This process's client."""
        return nullcontext(own)

    def standardising(self) -> AbstractContextManager[Standardises]:
        """Workers on this machine."""
        return Workers(standardise)
