from pathlib import Path

import pytest

from veneer.data.download import Downloader, Reach
from veneer.data.fetch import Fetcher
from veneer.data.sources import Found


@pytest.mark.parametrize("address", ["http://[", "http://[x/y.png", "://[", "http://\ud800", ""])
def test_an_odd_address_costs_its_own_place_only(tmp_path: Path, address: str) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    found = [Found(address), Found("a", picture), Found(address + "2")]
    with Downloader(Reach(seconds=2, attempts=1)) as downloader:
        fetched = list(Fetcher(downloader, tmp_path).fetch(iter(found)))
    assert [missed is None for _, missed in fetched] == [False, True, False]
