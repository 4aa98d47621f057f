"""Result pages of a picture search: their addresses, and what is read from them.

A page is read the way bing-image-downloader reads it: each result carries a JSON object, HTML-escaped, whose
``murl`` is the picture's address and ``purl`` the page it is on. Paging goes by the number of results.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote_plus

from veneer.errors import DatasetError

BING = "https://www.bing.com/images/async"
RESULTS_A_PAGE = 35
MOST_PAGES = 40

_SIZES = {"small": "small", "medium": "medium", "large": "large", "wallpaper": "wallpaper"}
_TYPES = {
    "photo": "photo",
    "clipart": "clipart",
    "line": "linedrawing",
    "gif": "animatedgif",
    "transparent": "transparent",
}
_LICENCES = {
    "any": "licenseType-Any",
    "public": "license-L1",
    "share": "license-L2_L3_L4_L5_L6_L7",
    "share-commercially": "license-L2_L3_L4",
    "modify": "license-L2_L3_L5_L6",
    "modify-commercially": "license-L2_L3",
}
_SAFE = ("off", "moderate", "strict")
_BARE_ADDRESS = re.compile(r"murl&quot;:&quot;(.*?)&quot;")


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        text: The words.
        size: Filter by size; empty for any.
        type: Filter by type; empty for any.
        licence: Filter by licence; empty for any.
        safe: "off", "moderate" or "strict".
    """

    text: str
    size: str = ""
    type: str = ""
    licence: str = ""
    safe: str = "moderate"

    def address(self, base: str, first: int) -> str:
        """Address of a page of results.

        Args:
            base: Address of the search.
            first: Number of the first result wanted, from 1.

        Returns:
            A URL.
        """
        filters = [
            f"+filterui:imagesize-{_SIZES[self.size]}" if self.size else "",
            f"+filterui:photo-{_TYPES[self.type]}" if self.type else "",
            f"+filterui:{_LICENCES[self.licence]}" if self.licence else "",
        ]
        return (
            f"{base}?q={quote_plus(self.text)}&first={first}&count={RESULTS_A_PAGE}"
            f"&adlt={self.safe}&qft={''.join(filters)}"
        )


@dataclass(frozen=True)
class Result:
    """One result of a search.

    Attributes:
        address: The picture's URL.
        page: The page it is on; empty where unknown.
        title: Its title; empty where unknown.
    """

    address: str
    page: str = ""
    title: str = ""


def parse_query(source: str) -> Query:
    """Read a query and its filters.

    Args:
        source: Such as ``bing:red houses;size=large;type=photo;licence=public``.

    Raises:
        DatasetError: If there are no words, or a filter or its value is unknown.
    """
    text, *filters = source.removeprefix("bing:").split(";")
    if not text.strip():
        raise DatasetError("a search without words", where=source, todo="Write bing:QUERY")
    known: Mapping[str, tuple[str, ...]] = {
        "size": tuple(_SIZES),
        "type": tuple(_TYPES),
        "licence": tuple(_LICENCES),
        "safe": _SAFE,
    }
    chosen: dict[str, str] = {}
    for entry in filters:
        key, _, value = (part.strip() for part in entry.partition("="))
        key = "licence" if key == "license" else key
        if value not in known.get(key, ()):
            choices = "; ".join(f"{name}={'|'.join(values)}" for name, values in known.items())
            raise DatasetError(
                f"no such filter: {entry.strip()}", where=source, todo=f"Filters are {choices}"
            )
        chosen[key] = value
    return Query(text.strip(), **chosen)


def read_results(page: str) -> list[Result]:
    """Read the results off a page.

    Args:
        page: HTML.

    Returns:
        Results in their order, each address once; none where the page has none, or has another form.
    """
    parser = _ResultParser()
    parser.feed(page)
    results = parser.results or [Result(html.unescape(found)) for found in _BARE_ADDRESS.findall(page)]
    unique: dict[str, Result] = {}
    for result in results:
        unique.setdefault(result.address, result)
    return list(unique.values())


class _ResultParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.results: list[Result] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        value = dict(attrs).get("m") or ""
        if not value.startswith("{"):
            return
        try:
            facts = json.loads(value)
        except (ValueError, RecursionError):
            return
        if isinstance(facts, dict) and isinstance(facts.get("murl"), str):
            page, title = str(facts.get("purl") or ""), str(facts.get("t") or "")
            self.results.append(Result(facts["murl"], page, title))
