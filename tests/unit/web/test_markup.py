"""HTML of the page: what comes from files is text."""

from __future__ import annotations

from veneer.web import markup


def test_what_comes_from_files_is_escaped() -> None:
    bad = "<script>alert(1)</script>\"'"
    parts = [
        markup.failure(bad, bad), markup.news(bad), markup.empty(bad, bad), markup.badge(bad),
        markup.facts([(bad, bad)]), markup.table(bad, [bad], []), markup.picture(b"", bad),
        markup.command([bad]),
    ]  # fmt: skip
    assert not [part for part in parts if "<script>" in part or "\"'" in part]
