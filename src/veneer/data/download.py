"""Fetch pictures and pages from the web: side by side, with limits, and only from public addresses.

Only http and https. Each file has a limit of size, held while it streams, and of time; each host a number of
connections. What fails for a passing reason is tried again, later and later. A site that asks with
``X-Robots-Tag: noai`` not to be used for training is left alone.
"""

from __future__ import annotations

import http.cookiejar
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpcore
import httpx

from veneer.data.decoding import ASKED_FOR, EncodingRefused, decoded_pieces
from veneer.data.guard import (
    Address,
    AddressRefused,
    Guard,
    GuardedTransport,
    Resolve,
    addresses_of,
    is_public,
)
from veneer.versions import VERSION

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
OPEN_HOSTS = ("wikimedia.org", "openverse.org")
"""Hosts with an interface for programs: they ask to be told which program it is."""
PAGE_BYTES = 8 * 2**20
PART = ".part"
"""Ending of a file that is not there to its end."""

MOST_REDIRECTS = 6
LONGEST_PAUSE_SECONDS = 30.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_AI = ("noai", "noimageai", "noimageindex")


@dataclass(frozen=True)
class Reach:
    """Limits of the client.

    Attributes:
        max_bytes: Largest file, in bytes.
        seconds: Longest that one file may take with all redirects, in seconds.
        attempts: How often a passing failure is tried.
        backoff_seconds: Wait before the second attempt; it doubles with each.
        connections: Files fetched side by side.
        per_host: Connections to one host.
        is_allowed: Which addresses may be reached.
        resolve: How names are looked up.
    """

    max_bytes: int = 25 * 2**20
    seconds: float = 60.0
    attempts: int = 3
    backoff_seconds: float = 1.0
    connections: int = 12
    per_host: int = 4
    is_allowed: Callable[[Address], bool] = is_public
    resolve: Resolve = addresses_of


@dataclass(frozen=True)
class Missed:
    """A file that was not had.

    Attributes:
        passing: Whether it may succeed another time.
        status: Status of the server's answer; 0 where there was none.
        wait_seconds: How long the server asks to wait; 0 where it does not say.
    """

    reason: str
    passing: bool
    status: int = 0
    wait_seconds: float = 0.0


class Downloader:
    """The client; a context manager.

    Args:
        reach: Its limits.
    """

    def __init__(self, reach: Reach = Reach()) -> None:
        self.reach = reach
        guard = Guard(reach.is_allowed, reach.resolve, reach.seconds)
        self._client = httpx.Client(
            transport=GuardedTransport(guard, reach.connections),
            headers={
                "Accept": "image/*,text/html;q=0.9,*/*;q=0.5",
                "Accept-Encoding": ASKED_FOR,
            },
            cookies=_NoCookies(),
            timeout=httpx.Timeout(min(15.0, reach.seconds), pool=None),
            follow_redirects=False,
        )
        self._hosts: defaultdict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(reach.per_host)
        )
        self._lock = threading.Lock()
        self.threads = ThreadPoolExecutor(reach.connections, thread_name_prefix="download")

    def __enter__(self) -> Downloader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.threads.shutdown(wait=error is None, cancel_futures=True)
        self._client.close()

    def file(self, address: str, target: Path) -> Missed | None:
        """Fetch a picture.

        Args:
            address: Its URL.
            target: Where its bytes go, once they are all there.

        Returns:
            None where it is there; otherwise why not.

        Raises:
            OSError: If it cannot be written: the disk is full.
        """
        part = target.with_name(target.name + PART)
        try:
            with part.open("wb") as file:
                missed = self._fetch(address, file.write, self.reach.max_bytes)
        except _DiskError as error:
            part.unlink()
            assert isinstance(error.__cause__, OSError)
            raise error.__cause__ from None
        if missed is None:
            part.replace(target)
        else:
            part.unlink()
        return missed

    def page(self, address: str) -> str | Missed:
        """Fetch a page.

        Args:
            address: Its URL.

        Returns:
            Its text, or why there is none.
        """
        pieces: list[bytes] = []
        missed = self._fetch(address, pieces.append, PAGE_BYTES, picture=False)
        return missed or b"".join(pieces).decode("utf-8", errors="replace")

    def _fetch(
        self, address: str, write: Callable[[bytes], object], max_bytes: int, *, picture: bool = True
    ) -> Missed | None:
        sink = _Sink(write, max_bytes, self.reach.seconds)
        missed: Missed | None = None
        for attempt in range(self.reach.attempts):
            if attempt:
                pause = self._pause(attempt, missed)
                sink.extend(pause)
                time.sleep(pause)
            try:
                self._follow(address, sink, picture=picture)
                return None
            except _DiskError:
                raise
            except Exception as error:  # a stranger's answer makes libraries raise any kind
                missed = _explain(error, self.reach.seconds)
            too_long = missed.wait_seconds > LONGEST_PAUSE_SECONDS
            if (
                not missed.passing or too_long or sink.size or sink.is_late
            ):  # half a file cannot be taken back
                break
        return missed

    def _pause(self, attempt: int, missed: Missed | None) -> float:
        busy = 4.0 if missed is not None and missed.status == 429 else 1.0
        own = self.reach.backoff_seconds * busy * 2.0 ** (attempt - 1) * random.uniform(0.8, 1.2)
        return min(LONGEST_PAUSE_SECONDS, max(own, missed.wait_seconds if missed is not None else 0.0))

    def _follow(self, address: str, sink: _Sink, *, picture: bool) -> None:
        url = httpx.URL(address)
        for _ in range(MOST_REDIRECTS):
            if url.scheme not in {"http", "https"}:
                raise _MissedError(Missed(f"only http and https are fetched: {address[:80]}", False))
            if not url.host or "%" in url.host:  # httpx escapes what cannot be in a name, such as "["
                raise _MissedError(Missed(f"the address names no host: {address[:80]}", False))
            with self._turn(url.host, sink), self._stream(url) as answer:
                if answer.has_redirect_location:
                    url = url.join(answer.headers["location"])
                    sink.refuse_late()
                    continue
                _refuse(answer, sink.max_bytes, picture=picture)
                for piece in decoded_pieces(answer):
                    sink.take(piece)
                if picture and not sink.size:
                    raise _MissedError(Missed("the server sent nothing", False))
                return
        raise _MissedError(Missed(f"more than {MOST_REDIRECTS} redirects", False))

    def _stream(self, url: httpx.URL) -> AbstractContextManager[httpx.Response]:
        return self._client.stream("GET", url, headers={"User-Agent": agent_for(url.host)})

    @contextmanager
    def _turn(self, host: str, sink: _Sink) -> Iterator[None]:
        """Wait for a free connection to the host; the file's time does not run meanwhile."""
        with self._lock:
            turn = self._hosts[host]
        asked = time.monotonic()
        with turn:
            sink.extend(time.monotonic() - asked)
            yield


def agent_for(host: str) -> str:
    """Who asks, as a host is told: a browser, as many refuse others; Veneer where a program is asked for."""
    is_open = any(host == known or host.endswith(f".{known}") for known in OPEN_HOSTS)
    return f"veneer/{VERSION} (collects pictures whose licence is known)" if is_open else BROWSER


class _MissedError(Exception):
    def __init__(self, missed: Missed) -> None:
        super().__init__(missed.reason)
        self.missed = missed


class _NoCookies(http.cookiejar.CookieJar):
    """Takes no cookie: an odd one of a host would spoil every later request to it."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Leave the answer's cookies where they are."""

    def add_cookie_header(self, request: object) -> None:
        """Send none."""


class _Sink:
    """Takes the pieces of a file until there are too many, or it is too late."""

    def __init__(self, write: Callable[[bytes], object], max_bytes: int, seconds: float) -> None:
        self._write = write
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self.max_bytes = max_bytes
        self.size = 0

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def extend(self, seconds: float) -> None:
        self._deadline += seconds

    def refuse_late(self) -> None:
        if self.is_late:
            raise _MissedError(Missed(f"not there within {self._seconds:g} s", True))

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self.max_bytes:
            raise _MissedError(_too_large(self.max_bytes))
        self.refuse_late()
        try:
            self._write(piece)
        except OSError as error:  # a full disk is no fault of the network
            raise _DiskError(error) from error


class _DiskError(Exception):
    pass


def _explain(error: BaseException, seconds: float) -> Missed:
    match error:
        case _MissedError():
            return error.missed
        case AddressRefused():
            return Missed(f"refused: {error}", False)
        case httpcore.TimeoutException():
            return Missed(f"not there within {seconds:g} s", True)
        case httpcore.NetworkError() | OSError():
            return Missed(f"no connection: {error}", True)
        case EncodingRefused():
            return Missed(f"not a usable answer: {error}", False)
        case _:
            return Missed(f"not a usable address or answer: {_in_short(error)}", False)


def _in_short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _refuse(answer: httpx.Response, max_bytes: int, *, picture: bool) -> None:
    status, kind = answer.status_code, answer.headers.get("content-type", "").lower()
    length = answer.headers.get("content-length", "")
    wait = answer.headers.get("retry-after", "")
    seconds = float(wait) if wait.isascii() and wait.isdigit() else 0.0
    missed = None
    if status == 429:
        missed = Missed("the server asks to come back later (429)", True, status, seconds)
    elif status != 200:
        words = f"the server answers {status} {answer.reason_phrase}".strip()
        missed = Missed(words, status in _PASSING, status, seconds)
    elif picture and kind.startswith("text/html"):
        missed = Missed("the server sent a web page, not a picture", False, status)
    elif picture and any(word in answer.headers.get("x-robots-tag", "").lower() for word in _NO_AI):
        missed = Missed("the site asks not to be used for training", False, status)
    elif length.isdigit() and int(length) > max_bytes:
        missed = _too_large(max_bytes)
    if missed is not None:
        raise _MissedError(missed)


def _too_large(max_bytes: int) -> Missed:
    return Missed(f"larger than {max_bytes / 2**20:g} MiB", False)
