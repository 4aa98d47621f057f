"""Result pages of a search: our reading of them, held against bing-image-downloader's own."""

import html
import io
import json
from pathlib import Path
from typing import Any

import pytest
from bing_image_downloader import bing

from helpers.webserver import result_page
from veneer.data.search import Query, parse_query, read_results
from veneer.errors import DatasetError

ADDRESSES = [
    "http://a.example/1.jpg",
    "https://b.example/pictures?id=7&size=large",
    "https://c.example/haus%20am%20see.png",
    "https://d.example/caf\u00e9.webp",
]


def test_the_report_s_own_library_reads_the_same_addresses_off_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [result_page(ADDRESSES), result_page(ADDRESSES[2:]), b""]
    asked, taken = [], []

    def urlopen(request: Any, timeout: float | None) -> io.BytesIO:
        asked.append(request.full_url)
        return io.BytesIO(pages[len(asked) - 1])

    monkeypatch.setattr(bing.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(bing.Bing, "download_image", lambda self, link: taken.append(link))
    library = bing.Bing("red houses", 9, tmp_path, "off", 5, "photo", verbose=False)
    library.run()
    ours = [result.address for result in read_results(pages[0].decode())]
    # the library reads inside the JSON text, whose escapes it leaves as they are
    assert [json.loads(f'"{link}"') for link in taken] == ours == ADDRESSES
    address = Query("red houses", type="photo", safe="off").address("https://www.bing.com/images/async", 1)
    assert address.partition("?")[0] == asked[0].partition("?")[0]
    assert "%2Bfilterui%3Aphoto-photo" in asked[0]
    assert "+filterui:photo-photo" in address


def test_page_and_title_come_along_and_each_address_once() -> None:
    results = read_results(result_page([*ADDRESSES, ADDRESSES[0]]).decode())
    assert [result.address for result in results] == ADDRESSES
    assert (results[1].page, results[1].title) == ("http://pages.example/1", "title 1")


@pytest.mark.parametrize(
    "page", ["", "<html>new design</html>", '<a m="{broken">', '<a m="[1]">', '<a m="{&quot;murl&quot;: 3}">']
)
def test_a_page_of_another_form_has_no_results(page: str) -> None:
    assert read_results(page) == []


def test_addresses_are_found_where_only_the_text_is_left() -> None:
    text = html.escape(json.dumps({"murl": ADDRESSES[1]}, separators=(",", ":")))
    assert [result.address for result in read_results(f"<div data-x='{text}")] == [ADDRESSES[1]]


def test_a_query_and_its_filters_are_read() -> None:
    query = parse_query("bing: red houses ; size=large; type=line;license=modify;safe=strict")
    assert query == Query("red houses", "large", "line", "modify", "strict")
    address = query.address("https://s.example", 36)
    for part in (
        "q=red+houses",
        "first=36",
        "adlt=strict",
        "imagesize-large",
        "photo-linedrawing",
        "license-L2_L3",
    ):
        assert part in address


@pytest.mark.parametrize("source", ["bing:", "bing:;size=large", "bing:x;colour=red", "bing:x;size=vast"])
def test_what_is_not_understood_is_refused(source: str) -> None:
    with pytest.raises(DatasetError):
        parse_query(source)
