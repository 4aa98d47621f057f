"""Catalogues that tell the licence of every picture: Openverse and Wikimedia Commons, by their JSON.

::

    openverse:red houses                              what may be changed and shared
    commons:pixel art;licence=modify-commercially     without licences for non-commercial use alone
    openverse:barns;licence=public                    CC0 and the public domain

What a licence forbids is told by the picture itself, so that it is left out and counted, not unseen.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import urlencode

from veneer.data.licences import DERIVATIVES, WANTED, Licence, read_licence
from veneer.data.sources import Found
from veneer.errors import DatasetError

CATALOGUES: Mapping[str, str] = {
    "openverse": "https://api.openverse.org/v1/images/",
    "commons": "https://commons.wikimedia.org/w/api.php",
}
"""Addresses of the catalogues, by the kind of source."""

OPENVERSE_PAGE = 20
"""Results of a page that Openverse gives to whoever has no account."""
COMMONS_PAGE = 50
LONGEST_SIDE_PX = 2048
"""Commons is asked for a copy of this width where the original is larger."""
LONGEST_RAW, LONGEST_TEXT = 20_000, 300
"""How much of a catalogue's text is looked at, and how much is kept."""


@dataclass(frozen=True)
class CatalogueQuery:
    """What a catalogue is asked for.

    Attributes:
        kind: "openverse" or "commons".
        text: The words.
        licence: One of `WANTED`.
    """

    kind: str
    text: str
    licence: str = DERIVATIVES

    def address(self, base: str, page: int) -> str:
        """Address of a page of results, from 1."""
        if self.kind == "openverse":
            asked: dict[str, Any] = {"q": self.text, "page": page, "page_size": OPENVERSE_PAGE}
            return f"{base}?{urlencode(asked)}"
        asked = {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            "generator": "search",
            "gsrsearch": f"filetype:bitmap {self.text}",
            "gsrnamespace": 6,
            "gsrlimit": COMMONS_PAGE,
            "gsroffset": (page - 1) * COMMONS_PAGE,
            "prop": "imageinfo",
            "iiprop": "url|extmetadata",
            "iiurlwidth": LONGEST_SIDE_PX,
        }
        return f"{base}?{urlencode(asked)}"


def parse_catalogue_query(source: str) -> CatalogueQuery:
    """Read the words and the filter of a source.

    Raises:
        DatasetError: If there are no words, or the filter is unknown.
    """
    kind, _, rest = source.partition(":")
    text, *filters = rest.split(";")
    if not text.strip():
        raise DatasetError("a search without words", where=source, todo=f"Write {kind}:QUERY")
    licence = DERIVATIVES
    for entry in filters:
        key, _, licence = (part.strip() for part in entry.partition("="))
        if key not in {"licence", "license"} or licence not in WANTED:
            what = f"no such filter: {entry.strip()}"
            raise DatasetError(what, where=source, todo=f"The filter is licence={'|'.join(WANTED)}")
    return CatalogueQuery(kind, text.strip(), licence)


def read_catalogue(query: CatalogueQuery, source: str, page: str) -> list[Found] | None:
    """Read the pictures off an answer.

    Returns:
        Each with licence, author and attribution; with a fault where it may not be taken. None where the
        answer is not of the form that is known.
    """
    try:
        answer = json.loads(page)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    read = _openverse if query.kind == "openverse" else _commons
    found = read(answer)
    if found is None:
        return None
    return [_found(entry, source, query) for entry in found if entry.address]


@dataclass(frozen=True)
class _Entry:
    address: str
    page: str
    title: str
    author: str
    licence: Licence


def _found(entry: _Entry, source: str, query: CatalogueQuery) -> Found:
    by = f" by {entry.author}" if entry.author else ""
    name = f'"{entry.title}"' if entry.title else "a picture"
    url = f" ({entry.licence.url})" if entry.licence.url else ""
    facts = {
        "source": source,
        "query": query.text,
        "page": entry.page,
        "title": entry.title,
        "author": entry.author,
        "licence": entry.licence.name,
        "licence_url": entry.licence.url,
        "attribution": f"{name}{by}, {entry.licence.name}{url}",
    }
    return Found(entry.address, facts=facts, fault=entry.licence.fault(query.licence))


def _openverse(answer: Mapping[str, Any]) -> Iterator[_Entry] | None:
    results = answer.get("results")
    return map(_of_openverse, filter(_is_mapping, results)) if isinstance(results, list) else None


def _of_openverse(one: Mapping[str, Any]) -> _Entry:
    licence = read_licence(
        plain_words(one.get("license")),
        version=plain_words(one.get("license_version")),
        url=plain_words(one.get("license_url")),
    )
    page, title = plain_words(one.get("foreign_landing_url")), plain_words(one.get("title"))
    return _Entry(_address(one.get("url")), page, title, plain_words(one.get("creator")), licence)


def _commons(answer: Mapping[str, Any]) -> Iterator[_Entry] | None:
    query = answer.get("query")
    if query is None:  # Commons leaves it out where nothing is found
        return iter(()) if "batchcomplete" in answer else None
    pages = query.get("pages") if _is_mapping(query) else None
    if not isinstance(pages, list):
        return None
    known = [page for page in pages if _is_mapping(page)]
    known.sort(key=lambda page: page["index"] if isinstance(page.get("index"), int) else 0)
    return map(_of_commons, known)


def _of_commons(page: Mapping[str, Any]) -> _Entry:
    infos = page.get("imageinfo")
    info = infos[0] if isinstance(infos, list) and infos and _is_mapping(infos[0]) else {}
    facts = info.get("extmetadata")
    told = {
        name: plain_words(fact.get("value"))
        for name, fact in (facts.items() if _is_mapping(facts) else ())
        if _is_mapping(fact)
    }
    licence = read_licence(
        told.get("License", ""), name=told.get("LicenseShortName", ""), url=told.get("LicenseUrl", "")
    )
    title = re.sub(r"^File:|\.\w{2,5}$", "", plain_words(page.get("title")))
    address = _address(info.get("thumburl")) or _address(info.get("url"))
    return _Entry(address, plain_words(info.get("descriptionurl")), title, told.get("Artist", ""), licence)


def plain_words(value: object) -> str:
    """Words of a catalogue as one line of plain text: without markup, and not too long."""
    text = html.unescape(value[:LONGEST_RAW]) if isinstance(value, str) else ""
    text = re.sub(r"<[^<>]*>", " ", text)  # each sign is looked at once, however many are opened
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:LONGEST_TEXT]


def _address(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text.isprintable():  # no address; half a character could not even be written down
        return ""
    return text if re.match(r"https?://", text, re.IGNORECASE) else ""


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)
