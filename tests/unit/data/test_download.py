import gzip
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.webserver import Web, web_server
from veneer.data.download import Downloader, Missed, Reach, agent_for

REACH = Reach(max_bytes=2**20, seconds=20, attempts=1, is_allowed=lambda _: True)


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def fetch(address: str, tmp_path: Path) -> Missed | None:
    with Downloader(REACH) as downloader:
        return downloader.file(address, tmp_path / "file")


@pytest.mark.parametrize("encodings", ["gzip", "gzip, gzip", "br"])
def test_a_small_answer_does_not_become_a_large_one(tmp_path: Path, web: Web, encodings: str) -> None:
    bomb = gzip.compress(bytes(200 * 2**20))
    bomb = gzip.compress(bomb) if "," in encodings else bomb
    address = web.answer("/bomb.png", 200, bomb, Content_Encoding=encodings)
    tracemalloc.start()
    missed = fetch(address, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert missed is not None
    assert ("larger than 1 MiB" if encodings == "gzip" else "not asked for") in missed.reason
    assert peak < 20 * 2**20
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "cookie", ["a=\xe9; Path=/", "=;=", "a=b; expires=" + "9" * 50, "a" * 5000, "a=b; Max-Age=x", "\x01=\x02"]
)
def test_an_odd_cookie_does_not_spoil_its_host(tmp_path: Path, web: Web, cookie: str) -> None:
    odd = web.answer("/odd.png", 200, b"x", Set_Cookie=cookie)
    plain = web.answer("/plain.png", 200, b"y")
    with Downloader(REACH) as downloader:
        for address in (odd, plain, odd):
            assert downloader.file(address, tmp_path / "file") is None


@pytest.mark.parametrize(
    "address",
    [
        "http://[",
        "http://[::1",
        "http://]/x.png",
        "http://a b/",
        "http://\ud800/",
        "http://" + "a" * 300 + ".example/",
        "http://x:99999999/",
        "http://x:-1/",
        "http://%00/",
        "http://xn--\u00df/",
        "http:///x",
        "HTTP://",
        "http://@:/",
        "http://1.2.3.4.5.6:80:80/",
    ],
)
def test_an_odd_address_is_one_missed_file(tmp_path: Path, address: str) -> None:
    with Downloader(replace(REACH, seconds=2)) as downloader:
        missed = downloader.file(address, tmp_path / "file")
    assert isinstance(missed, Missed)
    assert not missed.passing or "[" not in address


@pytest.mark.parametrize(
    "place", ["http://[", "//[/x", "http://x:99999999/", "\x00", "http://a b/c", "?" * 3000]
)
def test_an_odd_redirect_is_one_missed_file(tmp_path: Path, web: Web, place: str) -> None:
    assert isinstance(fetch(web.answer("/r.png", 302, Location=place), tmp_path), Missed)


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError(), RecursionError(), AssertionError("y"), TypeError()]
)
def test_whatever_a_library_raises_is_one_missed_file(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Downloader, "_follow", broken)
    assert isinstance(fetch(web.address, tmp_path), Missed)


@pytest.mark.parametrize("host", ["commons.wikimedia.org", "upload.wikimedia.org", "api.openverse.org"])
def test_open_collections_are_told_which_program_asks(host: str) -> None:
    assert agent_for(host).startswith("veneer/")


@pytest.mark.parametrize("host", ["example.com", "wikimedia.org.example.com", "notwikimedia.org"])
def test_others_are_asked_as_a_browser_asks(host: str) -> None:
    assert agent_for(host).startswith("Mozilla/")
