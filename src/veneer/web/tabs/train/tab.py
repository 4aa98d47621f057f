"""The tab Train: start, stop and resume runs, and watch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veneer.web import busy, late, markup
from veneer.web.late import offered
from veneer.web.messages import describe, guarded
from veneer.web.server.engine import gr
from veneer.web.studio import AT_WORK, DEMO, Studio
from veneer.web.tabs.train import dashboard
from veneer.web.workspace import free_name

REFRESH_SECONDS = 2.0


@dataclass(frozen=True)
class TrainTab:
    """The tab's parts that others need.

    Attributes:
        recipe: Which recipe is started.
        shown: Which run is shown.
        clock: Refreshes the views while the tab is open.
    """

    recipe: Any
    shown: Any
    message: Any
    clock: Any


def build(studio: Studio) -> TrainTab:
    """Lay out the tab.

    Returns:
        Its parts.
    """
    with gr.Row(equal_height=True):
        recipe = gr.Dropdown(
            [], label="Recipe", info="Saved recipes first, then the bundled ones.", elem_id="train-recipe"
        )
        name = gr.Textbox(
            label="Name of the run",
            placeholder="made from the recipe's name",
            info="An existing name goes on with that run.",
            elem_id="train-name",
        )
        start = gr.Button("Start", variant="primary", elem_id="train-start")
    message = gr.HTML(elem_id="train-message")
    with gr.Row(equal_height=True):
        shown = gr.Dropdown([], label="Run shown", elem_id="train-shown")
        stop = gr.Button("Stop", variant="stop", elem_id="train-stop", interactive=False)
        resume = gr.Button("Resume", elem_id="train-resume", interactive=False)
    status = gr.HTML(elem_id="train-status")
    charts = gr.HTML(elem_id="train-charts")
    previews = gr.HTML(elem_id="train-previews")
    with gr.Accordion("Log", open=False):
        log = gr.HTML(elem_id="train-log")
    views = [status, charts, previews, log]
    seen = gr.State({})

    starting = guarded(lambda r, n: _start(studio, r, n), (gr.skip(),))
    late.bind(busy.telling(start.click, "Starting the run"), starting, [recipe, name], [shown, message])
    stopping = busy.telling(stop.click, "Telling it to stop")
    stopping(guarded(lambda n: stop_run(studio, n), None), [shown], [message])
    resuming = busy.telling(resume.click, "Going on with the run")
    resuming(guarded(lambda n: _resume(studio, n), None), [shown], [message])
    outputs = [*views, stop, resume, seen]
    refresh = {"fn": lambda n, s: _refresh(studio, n, s), "inputs": [shown, seen], "outputs": outputs}
    shown.change(**refresh)
    message.change(**refresh)
    clock = gr.Timer(REFRESH_SECONDS, active=False)
    clock.tick(**refresh, trigger_mode="once")
    return TrainTab(recipe, shown, message, clock)


def wire(studio: Studio, tab: TrainTab, moments: list[Any]) -> None:
    """Fill the tab when it is opened.

    Args:
        moments: Events that fill it.
    """
    for moment in moments:
        late.bind(
            moment,
            lambda recipe, shown: choices(studio, recipe, shown),
            [tab.recipe, tab.shown],
            [tab.recipe, tab.shown],
        )


def choices(studio: Studio, recipe: str | None, shown: str | None) -> tuple[Any, Any]:
    """What the lists of the tab offer now.

    Args:
        shown: The run shown.

    Returns:
        Updates of recipe and run.
    """
    recipes, runs = studio.workspace.recipe_names(), studio.run_names()
    first = DEMO if DEMO in recipes else recipes[0]
    return offered(recipes, recipe, first), offered(runs, shown)


def try_demo(studio: Studio) -> tuple[Any, str]:
    """Start the bundled demo, or show it where it runs already.

    Returns:
        The run to show, and a message.
    """
    for job in studio.jobs.jobs():
        if job.recipe == DEMO and studio.jobs.state(job.name) in {"running", "waiting"}:
            return _show(studio, job.name), markup.news("The demo runs already.")
    try:
        job = studio.start(DEMO, free_name(DEMO, studio.run_names()))
    except Exception as error:
        return gr.skip(), describe(error)
    return _show(studio, job.name), _started(job.name, job.arguments)


def _start(studio: Studio, recipe: str, name: str) -> tuple[Any, str]:
    job = studio.start(recipe, name.strip() or free_name(recipe, studio.run_names()))
    return _show(studio, job.name), _started(job.name, job.arguments)


def stop_run(studio: Studio, name: str | None) -> str:
    """Stop a run, or have it leave the queue; where it is not at work, say so and no more.

    Returns:
        HTML.
    """
    state = studio.jobs.state(name or "")
    if state not in AT_WORK:
        return markup.news(f"{name} is not at work." if name else "No run is shown.")
    studio.jobs.stop(name or "")
    if state == "waiting":
        return markup.news(f"{name} has left the queue.", "warn")
    return markup.news(
        f"{name} is told to stop; it finishes its step and saves. Stop once more ends it at once.", "warn"
    )


def _resume(studio: Studio, name: str | None) -> str:
    job = studio.resume(name or "")
    return _started(job.name, job.arguments)


def _show(studio: Studio, name: str) -> Any:
    return gr.update(choices=studio.run_names(), value=name)


def _started(name: str, arguments: list[str]) -> str:
    text = f"{name} is started, or waits for its turn. It goes on when this page is closed."
    return markup.news(text, "good") + markup.command(arguments)


def _refresh(studio: Studio, name: str | None, seen: dict[str, str]) -> list[Any]:
    """The views of a run; what did not change is left alone, so that nothing flickers or scrolls."""
    fresh, updates = {}, []
    for view in (dashboard.status, dashboard.charts, dashboard.previews, dashboard.log_text):
        try:
            fresh[view.__name__] = view(studio, name)
        except Exception as error:
            fresh[view.__name__] = describe(error)
        changed = fresh[view.__name__] != seen.get(view.__name__)
        updates.append(fresh[view.__name__] if changed else gr.skip())
    state = (studio.jobs.state(name) if name else None) or ""
    fresh["state"] = f"{name} {state}"
    return [
        *updates,
        *(_buttons(name, state) if fresh["state"] != seen.get("state") else [gr.skip()] * 2),
        fresh,
    ]


def _buttons(name: str | None, state: str) -> list[Any]:
    """Stop and Resume, each only where it does something."""
    is_at_work = state in AT_WORK
    return [gr.update(interactive=is_at_work), gr.update(interactive=bool(name) and not is_at_work)]
