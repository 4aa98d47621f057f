"""Sources on the web: searches, and lists of addresses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veneer.choices import SEARCHES
from veneer.data.catalogues import CATALOGUES, parse_catalogue_query, read_catalogue
from veneer.data.download import Downloader, Missed
from veneer.data.search import BING, MOST_PAGES, parse_query, read_results
from veneer.data.sources import Found
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent
from veneer.records.files import write_text
from veneer.records.metadata import OTHERS_KEY, caption_column, captions_in, csv_records, fit_cells
from veneer.text import read_text_any, separator_of, some_of

OTHER_SOURCES = (
    "Other sources: a folder, openverse:QUERY, commons:QUERY, urls:FILE (a list of addresses), "
    "hf:NAME (a hub data set)"
)
_ADDRESS_COLUMNS = ("url", "image_url", "text_url")


@dataclass(frozen=True)
class Web:
    """What sources on the web need.

    Attributes:
        downloader: Fetches pages.
        scratch: Folder for passing files.
        pages: Folder for pages that were not understood.
        on_event: Called with notices.
    """

    downloader: Downloader
    scratch: Path
    pages: Path
    on_event: OnEvent
    search_address: str = BING
    catalogues: Mapping[str, str] = field(default_factory=lambda: CATALOGUES)


def searched_pictures(source: str, web: Web) -> Iterator[Found]:
    """Find pictures by a search, page after page, as far as they are asked for.

    Args:
        source: Such as ``bing:red houses;size=large``.
        web: What is needed.

    Yields:
        The results, not fetched yet.
    """
    query = parse_query(source)
    seen: set[str] = set()
    for number in range(MOST_PAGES):
        page = web.downloader.page(query.address(web.search_address, 1 + len(seen)))
        if isinstance(page, Missed):
            _notify_missed(source, page, len(seen), web)
            return
        results = [result for result in read_results(page) if result.address not in seen]
        if not results:
            if number == 0:
                _notify_nothing(source, query.text, page, web)
            return
        seen.update(result.address for result in results)
        for result in results:
            facts = {"source": source, "query": query.text, "page": result.page, "title": result.title}
            licence = f"search filter {query.licence}" if query.licence else ""
            yield Found(result.address, facts={**facts, "licence": licence})


def catalogue_pictures(source: str, web: Web) -> Iterator[Found]:
    """Find pictures whose licence is told, page after page, as far as they are asked for.

    Args:
        source: Such as ``openverse:red houses;licence=public``.

    Yields:
        The results, not fetched yet; those that their licence forbids to take with that fault.
    """
    query = parse_catalogue_query(source)
    seen: set[str] = set()
    for number in range(1, MOST_PAGES + 1):
        page = web.downloader.page(query.address(web.catalogues[query.kind], number))
        if isinstance(page, Missed):
            _notify_missed(source, page, len(seen), web)
            return
        results = read_catalogue(query, source, page)
        new = [found for found in results or () if found.origin not in seen]
        if not new:
            if number == 1:
                _notify_nothing(source, query.text, "" if results is not None else page, web)
            return
        seen.update(found.origin for found in new)
        yield from new


def listed_pictures(source: str, file: Path, on_event: OnEvent) -> Iterator[Found]:
    """Find pictures by a list of addresses: one a line, with a tab and a caption if wanted, or a CSV file.

    Args:
        source: Such as ``urls:houses.csv``.
        file: The list. A CSV file has a column "url", and "caption" or "text" if wanted; others are kept.
        on_event: Told of lines without an address.

    Yields:
        The pictures, not fetched yet.

    Raises:
        DatasetError: If a CSV file has no column of addresses.
    """
    rows = _csv_list(file) if file.suffix.lower() in {".csv", ".tsv"} else _plain_list(file)
    wrong = []
    for number, (address, caption, extra) in enumerate(rows, 1):
        if not re.match(r"https?://", address, re.IGNORECASE):
            wrong.append(f"line {number}: {address[:60]!r}")
            continue
        facts = {"source": source, "licence": extra.pop("licence", "") or extra.pop("license", "")}
        yield Found(address, caption=caption, facts={**facts, "extra": extra})
    if wrong:
        message = f"{len(wrong)} lines of {file} hold no address: {some_of(wrong, 5)}"
        on_event(Notice("collect", "no-address", message))


def scratch_file(scratch: Path, origin: str, suffix: str = "") -> Path:
    """Name a passing file.

    Args:
        scratch: Their folder.
        origin: What the file is a copy of.
        suffix: Its suffix, for people.

    Returns:
        A path of its own for each origin.
    """
    safe = suffix if re.fullmatch(r"\.\w{1,5}", suffix) else ""
    return scratch / f"{hashlib.sha256(origin.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}{safe}"


def _plain_list(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for line in read_text_any(file).splitlines():
        address, _, caption = line.strip().partition("\t")
        if address and not address.startswith("#"):
            yield address.strip(), " ".join(caption.split()), {}


def _csv_list(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    text = read_text_any(file)
    separator = separator_of(text)
    records = csv_records(text, separator, file)
    columns = next(records, ([], "", 1))[0]
    address, caption = address_column(columns), caption_column(columns)
    if address is None:
        found = f"; columns found: {', '.join(columns)}" if columns else ""
        raise DatasetError(
            f"no column of addresses{found}",
            where=str(file),
            todo="Name it url; captions are in caption or text",
        )
    for cells, _, number in records:
        row = dict(zip(columns, fit_cells(cells, columns, separator, f"{file}:{number}"), strict=True))
        texts = (captions_in(row[caption]) or ()) if caption else ()
        extra: dict[str, Any] = {k: v for k, v in row.items() if k not in {address, caption} and v}
        if len(texts) > 1:
            extra[OTHERS_KEY] = list(texts[1:])
        yield (row[address] or "").strip(), texts[0] if texts else "", extra


def address_column(columns: Sequence[str]) -> str | None:
    """Find the column of addresses, whatever its case; None where there is none."""
    keys = [column.strip().lower() for column in columns]
    return next((columns[keys.index(wanted)] for wanted in _ADDRESS_COLUMNS if wanted in keys), None)


def _notify_missed(source: str, missed: Missed, results: int, web: Web) -> None:
    so_far = f" after {results} results, which are kept" if results else ""
    message = (
        f"{source}: the search stopped{so_far}: {missed.reason}. The same command goes on. {OTHER_SOURCES}"
    )
    web.on_event(Notice("collect", "search-stopped", message, True))


def _notify_nothing(source: str, words: str, page: str, web: Web) -> None:
    if not page.strip():
        message = f"{source}: no results. Try other words or fewer filters"
        web.on_event(Notice("collect", "no-results", message, True))
        return
    name = re.sub(r"\W+", "-", words).strip("-")[:40] or "search"
    path = web.pages / f"{name}.html"
    with suppress(OSError):
        write_text(path, page)
    message = f"{source}: no results understood; the page is saved at {path}. {OTHER_SOURCES}"
    web.on_event(Notice("collect", "no-results-understood", message, True))


def refuse_wrong_queries(sources: Sequence[str]) -> None:
    """Refuse queries that are not understood, before anything is fetched.

    Raises:
        DatasetError: For the first one.
    """
    for source in sources:
        if source.startswith("bing:"):
            parse_query(source)
        elif source.startswith(SEARCHES):
            parse_catalogue_query(source)
