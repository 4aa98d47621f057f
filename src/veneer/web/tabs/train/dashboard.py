"""A run at a glance: state, stages, speed, time left, memory, and what to do next."""

from __future__ import annotations

from pathlib import Path

from veneer.errors import VeneerError
from veneer.records.metrics import Metrics, known_metrics
from veneer.records.run import RunDir
from veneer.stage import STAGE_NAMES
from veneer.web import markup
from veneer.web.jobs.events import RunLog, read_events, tail
from veneer.web.jobs.queue import JobState
from veneer.web.studio import Studio
from veneer.web.tabs.train.curves import training_charts
from veneer.web.usage import finished_html

STATE_WORDS: dict[JobState, tuple[str, markup.Tone]] = {
    "waiting": ("waiting", "plain"),
    "running": ("running", "good"),
    "done": ("done", "good"),
    "stopped": ("stopped", "warn"),
    "failed": ("failed", "bad"),
    "killed": ("killed", "bad"),
}
VERDICTS: dict[str, markup.Tone] = {"better": "good", "trade": "warn", "not shown": "warn", "worse": "bad"}
SPEED_STEPS = 20
PREVIEWS_SHOWN = 12


def status(studio: Studio, name: str | None) -> str:
    """How a run stands.

    Args:
        name: Name of the run; None where there is none.

    Returns:
        HTML.
    """
    if not name:
        return markup.empty(
            "No run yet",
            "Choose a recipe and press Start, or try it with the bundled base: no download, a few minutes.",
        )
    log = read_events(studio.jobs.events(name))
    state = studio.jobs.state(name)
    folder = studio.workspace.run(name)
    badges = _badges(state, known_metrics(folder), is_stopping=studio.jobs.is_stopping(name))
    parts = [f"<h3>{markup.escaped(name)} {badges}</h3>"]
    parts += [_queue(studio), _next_step(state, log)]
    parts += [finished_html(folder, known_metrics(folder))] if state == "done" else []
    parts.append(stages(_finished(folder) | log.finished, log.stage if state == "running" else ""))
    if state == "running":
        parts.append(_progress(studio, name, log))
    parts += [markup.news(f"{code}: {message}", "warn") for code, message in log.notices[-4:]]
    return f'<section class="v-run" aria-label="Run {markup.escaped(name)}">{"".join(parts)}</section>'


def charts(studio: Studio, name: str | None) -> str:
    """Curves of a run's training.

    Returns:
        HTML.
    """
    if not name:
        return ""
    folder = studio.workspace.run(name)
    held_out = read_events(studio.jobs.events(name)).held_out or _held_out(folder)
    drawn = training_charts(folder.log_jsonl, held_out)
    return drawn or markup.empty("No curve yet", "The curves appear with the first training step.")


def previews(studio: Studio, name: str | None) -> str:
    """Pictures that a run made: previews while it trains, or its first samples.

    Returns:
        HTML; empty where there are none yet.
    """
    if not name:
        return ""
    folder = studio.workspace.run(name)
    newest = sorted(folder.train.glob("previews/*/*.png"))[-PREVIEWS_SHOWN:]
    made = newest or sorted(folder.samples.glob("tuned/*.png"))[:PREVIEWS_SHOWN]
    shown = "".join(_preview(path) for path in made)
    return f'<div class="v-strip">{shown}</div>' if shown else ""


def log_text(studio: Studio, name: str | None) -> str:
    """The end of what a run printed.

    Returns:
        HTML.
    """
    lines = tail(studio.jobs.log(name), 60) if name else []
    text = "\n".join(lines) or "Nothing was printed yet."
    return f'<pre class="v-log" tabindex="0" aria-label="Log">{markup.escaped(text)}</pre>'


def stages(finished: dict[str, str], now: str) -> str:
    """The stages of a run as a list.

    Args:
        finished: Summaries of those that are done.
        now: The one at work; empty for none.

    Returns:
        HTML.
    """
    items = []
    for name in STAGE_NAMES:
        kind, word = ("done", "done") if name in finished else ("todo", "to do")
        if name == now:
            kind, word = "now", "at work"
        summary = finished.get(name, "")
        tip = f' title="{markup.escaped(summary)}"' if summary else ""
        items.append(f'<li class="v-{kind}"{tip}>{name}<span class="v-hidden">: {word}</span></li>')
    return f'<ol class="v-stages">{"".join(items)}</ol>'


def _preview(path: Path) -> str:
    word, _, step = path.parent.name.partition("-")
    made_at = f"{word} {int(step)}" if step.isdigit() else word
    prompt, _, seed = path.stem.partition("-")
    label = f"{made_at}: prompt {int(prompt) + 1 if prompt.isdigit() else prompt}, seed {seed}"
    return f"<figure>{markup.png(path, label)}<figcaption>{markup.escaped(label)}</figcaption></figure>"


def _badges(state: JobState | None, measured: Metrics | None, *, is_stopping: bool) -> str:
    badges = markup.badge(*STATE_WORDS[state]) if state else ""
    badges = markup.badge("stopping", "warn") if is_stopping else badges
    if measured is not None:
        badges += markup.badge(measured.verdict, VERDICTS.get(measured.verdict, "plain"))
    return badges


def _queue(studio: Studio) -> str:
    """Who is at work and who waits, where somebody waits."""
    queued = studio.queue()
    if len(queued) < 2:
        return ""
    names = [f"{markup.escaped(job.name)} {markup.badge(*STATE_WORDS[state])}" for job, state in queued]
    return f'<p class="v-queue">Queue: {" ".join(names)}</p>'


def _next_step(state: JobState | None, log: RunLog) -> str:
    match state:
        case "failed":
            what, where = log.end.get("what", "it failed"), log.end.get("where", "")
            todo = log.end.get("todo") or "The log below says more. Resume goes on from what is done."
            return markup.failure(f"{what} ({where})" if where else str(what), str(todo))
        case "killed":
            return markup.failure(
                "The process was ended from outside", "Nothing that was saved is lost: press Resume to go on."
            )
        case "stopped":
            return markup.news("Stopped. What is done is saved: press Resume to go on.", "warn")
        case "waiting":
            return markup.news("Waiting for its turn; runs are done one after another.")
    return ""


def _progress(studio: Studio, name: str, log: RunLog) -> str:
    done, total = log.done, log.total or 0
    pairs: list[tuple[str, object]] = []
    if log.stage == "train":
        step, seconds, speed = _speed(studio.workspace.run(name).log_jsonl)
        done = max(done, step)
        if speed:
            pairs.append(("Speed", f"{speed:.1f} pictures/s"))
        if seconds and total:
            pairs.append(("Training left", markup.minutes(seconds * max(0, total - done))))
    memory = studio.jobs.memory_gib(name)
    if memory is not None:
        pairs.append(("Memory", f"{memory:.2f} GiB"))
    of = f"{done} of {total} {log.unit}" if total else f"{done} {log.unit}"
    label = f"{log.stage or 'starting'}: {of}" if log.stage else "Starting: loading libraries"
    value = f'max="{total or 1}" value="{min(done, total or 1)}"'
    bar = f'<progress {value} aria-label="{markup.escaped(label)}"></progress>'
    return f'<p class="v-doing">{markup.escaped(label)}</p>{bar}{markup.facts(pairs)}'


def _speed(log: Path) -> tuple[int, float, float]:
    """Last step, seconds a step and pictures a second, over the last steps."""
    from veneer.records.trainlog import steps_in

    steps = steps_in(tail(log, SPEED_STEPS))
    if not steps:
        return 0, 0.0, 0.0
    seconds = sum(one.seconds or 0.0 for one in steps) / len(steps)
    speed = sum(one.images_per_second or 0.0 for one in steps) / len(steps)
    return steps[-1].step, seconds, speed


def _finished(run: RunDir) -> dict[str, str]:
    try:
        return {name: entry.summary for name, entry in run.read_record().stages.items()}
    except VeneerError:
        return {}


def _held_out(run: RunDir) -> dict[int, float]:
    from veneer.proof.history import held_out_curve
    from veneer.records.candidates import known_candidates

    try:
        curve = held_out_curve(known_candidates(run))
    except VeneerError:
        return {}
    return dict(zip(curve.steps, curve.values, strict=True))
