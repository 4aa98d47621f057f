"""Verdict, measures and report of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from veneer.errors import RunError
from veneer.records.metrics import Metrics
from veneer.web import markup
from veneer.web.studio import Studio
from veneer.web.tabs.train.dashboard import VERDICTS


def verdict_html(metrics: Metrics | None) -> str:
    """Verdict, reasons and measures.

    Args:
        metrics: What was found; None before `compare`.
    """
    if metrics is None:
        return markup.empty("No verdict yet", "It is measured at the end of the run.")
    from veneer.proof.measure_text import describe_measures

    verdict, headline = metrics.verdict, markup.escaped(metrics.headline)
    todo = f"<p>Next: {markup.escaped(metrics.todo)}.</p>" if metrics.todo else ""
    reasons = "".join(_reasons(metrics))
    rows = [
        [
            _label(row),
            row.base or "—",
            row.tuned or "—",
            f"<b>{markup.escaped(row.delta or '—')}</b>",
            row.interval or "—",
        ]
        for row in describe_measures(metrics.model_dump())
    ]
    table = markup.table("Measures", ("Measure", "Base", "Tuned", "Difference", "95 % interval"), rows)
    badge = markup.badge(verdict, VERDICTS.get(verdict, "plain"))
    head = f"<h4>{headline or 'Verdict'} {badge}</h4>{todo}"
    return f'<div class="v-verdict">{head}<ul>{reasons}</ul>{table}</div>'


def _reasons(metrics: Metrics) -> Iterator[str]:
    """Each reason with the next thing to try for it; older files say reasons alone."""
    todo = {str(one.get("text")): str(one.get("todo") or "") for one in metrics.reasons_named}
    for reason in metrics.reasons:
        step = todo.get(reason, "")
        is_said = not step or step == metrics.todo  # above all reasons
        yield f"<li>{markup.escaped(reason)}{'' if is_said else f'<br>Next: {markup.escaped(step)}.'}</li>"


def report_frame(studio: Studio, run: str | None) -> str:
    """The report inside the page, kept apart from it: its script moves its slider, and reaches nothing else.

    Returns:
        HTML.

    Raises:
        RunError: If the run has no report.
    """
    path = studio.workspace.run(run or "").index_html
    if not path.is_file():
        raise RunError("this run has no report yet", where=str(run), todo="Wait for its end, or resume it")
    text = markup.escaped(path.read_text("utf-8", errors="replace"))
    title = f"Report of {markup.escaped(run)}"
    return f'<iframe class="v-report" title="{title}" sandbox="allow-scripts" srcdoc="{text}"></iframe>'


def _label(row: Any) -> str:
    tip = markup.escaped(f"{row.question} {row.sentence}")
    return f'<span title="{tip}">{markup.escaped(row.label)}</span>'
