"""Answers of Openverse and Commons, read whatever is in them."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from veneer.data.catalogues import CATALOGUES, parse_catalogue_query, plain_words, read_catalogue
from veneer.data.licences import PUBLIC
from veneer.errors import DatasetError


def test_a_query_asks_the_catalogue_for_a_page() -> None:
    query = parse_catalogue_query("openverse: red houses ;licence=public")
    assert (query.kind, query.text, query.licence) == ("openverse", "red houses", PUBLIC)
    asked = parse_qs(urlsplit(query.address(CATALOGUES["openverse"], 2)).query)
    assert asked == {"q": ["red houses"], "page": ["2"], "page_size": ["20"]}
    commons = parse_catalogue_query("commons:pixel art")
    asked = parse_qs(urlsplit(commons.address(CATALOGUES["commons"], 3)).query)
    assert asked["gsrsearch"] == ["filetype:bitmap pixel art"] and asked["gsroffset"] == ["100"]


@pytest.mark.parametrize("source", ["openverse:", "commons: ;licence=public", "openverse:a;size=large"])
def test_a_wrong_query_is_refused(source: str) -> None:
    with pytest.raises(DatasetError):
        parse_catalogue_query(source)


@pytest.mark.parametrize("kind", ["openverse", "commons"])
@pytest.mark.parametrize(
    "page", ["", "<html>", "[]", "{}", '{"results": 3}', '{"query": {"pages": {}}}', "[" * 9999]
)
def test_an_answer_of_another_form_is_none(kind: str, page: str) -> None:
    assert read_catalogue(parse_catalogue_query(f"{kind}:a"), f"{kind}:a", page) is None


def test_odd_entries_are_passed_over_or_left_out_by_a_fault() -> None:
    entries: list[Any] = [
        3,
        {},
        {"url": 7, "license": "by"},
        {"url": "file:///etc/passwd", "license": "by"},
        {"url": "https://a.example/1.png", "license": None, "creator": ["x"]},
        {"url": "https://a.example/2.png", "license": "by", "license_version": "4.0"},
    ]
    query = parse_catalogue_query("openverse:a")
    found = read_catalogue(query, "openverse:a", json.dumps({"results": entries})) or []
    assert [(one.origin[-5:], bool(one.fault)) for one in found] == [("1.png", True), ("2.png", False)]


def test_commons_without_results_has_none() -> None:
    query = parse_catalogue_query("commons:a")
    assert read_catalogue(query, "commons:a", '{"batchcomplete": true}') == []


def test_markup_of_authors_becomes_plain_words() -> None:
    assert plain_words('<a href="//x">Ann &amp; Bob</a>\n<script>') == "Ann & Bob"
    assert len(plain_words("x" * 5000)) == 300


@pytest.mark.parametrize(
    "text", ["<" * 400_000, "<a" * 200_000, "a\x1b[2J\u202e", "\ud800", "&lt;b&gt;" * 9_000]
)
def test_a_strangers_words_are_read_in_bounds_and_steer_nothing(text: str) -> None:
    began = time.process_time()
    words = plain_words(text)
    assert time.process_time() - began < 2
    assert words.isprintable() and "<b>" not in words
    words.encode()


def test_an_address_of_half_characters_is_none() -> None:
    answer = json.dumps({"results": [{"url": "https://a.example/\ud800.png", "license": "by"}]})
    assert read_catalogue(parse_catalogue_query("openverse:a"), "openverse:a", answer) == []
