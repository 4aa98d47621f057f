"""The verdict on the page: each reason with the next thing to try for it."""

from veneer.records.metrics import Metrics
from veneer.web.tabs.compare.verdict import verdict_html


def test_every_reason_says_what_to_try_next_and_none_says_it_twice() -> None:
    named = (
        {"code": "a", "text": "style rose", "todo": "Raise it", "decides": True},
        {"code": "b", "text": "few <pairs>", "todo": "Draw more seeds", "decides": False},
        {"code": "c", "text": "all well", "todo": "", "decides": False},
    )
    reasons = tuple(str(one["text"]) for one in named)
    told = verdict_html(Metrics(verdict="better", todo="Raise it", reasons=reasons, reasons_named=named))
    assert told.count("Raise it") == 1
    assert "few &lt;pairs&gt;<br>Next: Draw more seeds." in told
    assert told.count("Next:") == 2


def test_an_older_file_says_its_reasons_alone() -> None:
    told = verdict_html(Metrics(verdict="better", reasons=("style rose",)))
    assert "<li>style rose</li>" in told
