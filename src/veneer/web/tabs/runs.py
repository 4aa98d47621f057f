"""The tab Runs: all runs, what differs between two, and deleting."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veneer.errors import VeneerError
from veneer.recipe import differences
from veneer.records.metrics import known_metrics
from veneer.records.run import RunDir
from veneer.web import late, markup
from veneer.web.address import link
from veneer.web.messages import guarded
from veneer.web.server.engine import gr
from veneer.web.studio import Studio
from veneer.web.tabs.train import dashboard
from veneer.web.workspace import disk_use

if TYPE_CHECKING:
    from veneer.proof.measures import Spec


LINE = "runs"
"""Questions about the table are answered as they were asked: the last one decides what is shown."""


def build(studio: Studio) -> tuple[Any, Any, list[Any]]:
    """Lay out the tab.

    Returns:
        The words looked for, the table, and the lists of runs.
    """
    wanted = gr.Textbox(
        label="Show runs with",
        placeholder="part of a name, a verdict, a base",
        max_lines=1,
        elem_id="runs-wanted",
    )
    table = gr.HTML(elem_id="runs-table")
    wanted.change(  # at `input` a text that is filled in at once has the value from before
        guarded(lambda words: overview(studio, words), None), [wanted], [table],
        trigger_mode="always_last", concurrency_id=LINE,
    )  # fmt: skip
    with gr.Accordion("What differs between two runs", open=False):
        with gr.Row():
            one = gr.Dropdown([], label="First run", elem_id="runs-one")
            other = gr.Dropdown([], label="Second run", elem_id="runs-other")
        difference = gr.HTML(elem_id="runs-difference")
    with gr.Accordion("Delete a run", open=False):
        doomed = gr.Dropdown([], label="Run to delete", elem_id="runs-doomed")
        ask = gr.Button("Delete this run", variant="stop", elem_id="runs-delete")
        with gr.Group(visible=False) as sure:
            typed = gr.Textbox(label="Write the run's name to delete it for good", elem_id="runs-typed")
            with gr.Row():
                yes = gr.Button("Delete for good", variant="stop", elem_id="runs-yes")
                no = gr.Button("Keep it", elem_id="runs-no")
        message = gr.HTML(elem_id="runs-message")
    for side in (one, other):
        side.change(guarded(lambda a, b: recipe_differences(studio, a, b), None), [one, other], [difference])
    ask.click(guarded(lambda n: _ask(studio, n), (gr.skip(),)), [doomed], [sure, message])
    late.bind(no.click, lambda: (gr.update(visible=False), "", ""), None, [sure, typed, message])
    lists = [one, other, doomed]
    late.bind(
        yes.click,
        guarded(lambda n, t: _delete(studio, n, t), (gr.skip(),) * 6),
        [doomed, typed],
        [table, *lists, sure, typed, message],
    )
    return wanted, table, lists


def overview(studio: Studio, wanted: str = "") -> str:
    """A table of runs, in words; the numbers behind a word are told by its tip.

    Args:
        wanted: Words that a row has to hold; empty for all runs.

    Returns:
        HTML.
    """
    names = studio.run_names()
    if not names:
        return markup.empty(
            "No runs yet", "Press “Try it with the bundled base” above, or start one on the tab Train."
        )
    from veneer.proof.measures import MEASURES

    columns = [spec for spec in MEASURES if spec.is_contract]
    heads = (
        "Run",
        "State",
        "Finished",
        "Verdict",
        *(spec.label for spec in columns),
        "Use at",
        "Base",
        "On disk",
    )
    rows = [_row(studio, name, columns) for name in names]
    asked = wanted.lower().split()
    shown = [row for row in rows if all(word in " ".join(row).lower() for word in asked)]
    if not shown:
        return markup.empty("No such run", f"None of {len(rows)} runs holds all these words.")
    return markup.table("All runs, the newest first", heads, shown)


def recipe_differences(studio: Studio, one: str | None, other: str | None) -> str:
    """What differs between the recipes of two runs.

    Args:
        one: Name of a run.
        other: Name of the other.

    Returns:
        HTML.

    Raises:
        RunError: If a folder holds no run.
    """
    if not one or not other:
        return markup.empty("Nothing to compare yet", "Choose two runs.")
    first, second = (studio.workspace.run(n).read_recipe().model_dump(mode="json") for n in (one, other))
    lines = differences(first, second)
    if not lines:
        return markup.news("The two recipes are the same.")
    rows = []
    for line in lines:
        key, _, change = line.partition(": ")
        before, _, after = change.partition(" -> ")
        rows.append([f"<code>{markup.escaped(text)}</code>" for text in (key, before, after)])
    return markup.table(f"Recipe of {one} against {other}", ("Key", one, other), rows)


def lists(studio: Studio) -> list[Any]:
    """What the lists of the tab offer now.

    Returns:
        One update for each list.
    """
    names = studio.run_names()
    return [gr.update(choices=names)] * 3


def _row(studio: Studio, name: str, columns: Sequence[Spec]) -> list[str]:
    folder, state = studio.workspace.run(name), studio.jobs.state(name)
    measured = known_metrics(folder)
    verdict = measured.verdict if measured else ""
    cells = [f"<b>{link(name, 'compare' if verdict else 'train')}</b>"]
    cells.append(markup.badge(*dashboard.STATE_WORDS[state]) if state else markup.badge("not started here"))
    cells.append(_finished(folder))
    cells.append(markup.badge(verdict, dashboard.VERDICTS.get(verdict, "plain")) if verdict else "—")
    cells += [_in_words(spec, measured.measures.get(spec.name) if measured else None) for spec in columns]
    cells.append(f"{measured.scale:g}" if measured and measured.scale is not None else "—")
    cells += [_base(studio, name), markup.gib(disk_use(folder.root))]
    return cells


def _finished(folder: RunDir) -> str:
    """When its last stage was done, by the machine's own clock."""
    try:
        stages = folder.read_record().stages.values()
        last = max((stage.finished for stage in stages if stage.finished), default="")
        return f"{datetime.fromisoformat(last).astimezone():%d %b %Y, %H:%M}" if last else "—"
    except (VeneerError, ValueError):
        return "—"


def _in_words(spec: Spec, measure: Any) -> str:
    """Where a measure went for sure; a file may be damaged, or written by hand."""
    if not isinstance(measure, Mapping) or not isinstance(measure.get("delta"), int | float):
        return "—"
    tip, word = f"{measure['delta']:+.3g}", "not known"
    match measure.get("ci95"):
        case [int() | float() as low, int() | float() as high]:
            tip += f", 95 % interval {low:+.3g} to {high:+.3g}"
            word = "no sure change" if low <= 0 <= high else spec.more if low > 0 else spec.less
    return f'<span title="{markup.escaped(tip)}">{markup.escaped(word)}</span>'


def _base(studio: Studio, name: str) -> str:
    try:
        return markup.escaped(Path(studio.workspace.run(name).read_recipe().base.model).name)
    except VeneerError as error:
        return f'<span class="v-gone">{markup.escaped(_short(error))}</span>'


def _short(error: VeneerError) -> str:
    return f"cannot be read: {error.what[:120]}"


def _ask(studio: Studio, name: str | None) -> tuple[Any, str]:
    folder = studio.workspace.run(name or "")
    if studio.jobs.state(folder.name) in {"running", "waiting"}:
        raise VeneerError("this run is at work", where=folder.name, todo="Stop it on the tab Train first")
    size = markup.gib(disk_use(folder.root))
    return gr.update(visible=True), markup.news(
        f"Deleting {name} frees {size}; its pictures and LoRA are gone then.", "warn"
    )


def _delete(studio: Studio, name: str | None, typed: str) -> tuple[Any, ...]:
    folder = studio.workspace.run(name or "")
    if typed.strip() != folder.name:
        raise VeneerError("the name does not fit", where=typed, todo=f"Write {folder.name}")
    _ask(studio, name)
    shutil.rmtree(folder.root, ignore_errors=False) if folder.root.exists() else None
    studio.jobs.forget(folder.name)
    fresh = [gr.update(choices=studio.run_names(), value=None)] * 3
    return overview(studio), *fresh, gr.update(visible=False), "", markup.news(f"{name} is deleted.", "good")
