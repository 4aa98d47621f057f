"""The page as a whole: bound to this machine, offline, behind a password elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from veneer.web import address, busy, late, markup
from veneer.web.jobs.queue import JobBook
from veneer.web.server.engine import gr
from veneer.web.server.limits import Uploads
from veneer.web.server.server import answer, check_access, listen
from veneer.web.server.values import look_at_values
from veneer.web.studio import Studio
from veneer.web.tabs import runs as runs_tab
from veneer.web.tabs.compare import tab as compare_tab
from veneer.web.tabs.dataset import tab as dataset_tab
from veneer.web.tabs.dataset import view as dataset_view
from veneer.web.tabs.recipe import draft
from veneer.web.tabs.recipe import tab as recipe_tab
from veneer.web.tabs.train import tab as train_tab
from veneer.web.workspace import Workspace

SYSTEM_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO_FONT = ("ui-monospace", "Consolas", "monospace")


def open_studio(
    workspace: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str = "",
    also: Sequence[Path] = (),
    on_ready: Callable[[str], None] = print,
) -> None:
    """Open the studio, until Ctrl-C.

    Args:
        workspace: Its folder; made where it does not exist.
        port: Port to listen at; 0 for a free one.
        password: Password of the user ``veneer``; empty for none, allowed at this machine's own address only.
        also: Further folders and files that recipes may name.
        on_ready: Called with the page's address.

    Raises:
        VeneerError: If another studio has the workspace, the port is in use, or a password is missing.
        KeyboardInterrupt: After Ctrl-C; runs go on.
    """
    check_access(host, password)
    place = Workspace(workspace.expanduser().resolve(), tuple(path.expanduser().resolve() for path in also))
    with place.locked(), _uploads_inside(place), listen(host, port) as bound:
        os.chdir(place.root)  # paths in recipes are then the same here as in the runs
        studio = Studio(place, JobBook(place))
        uploads = Uploads(place.private / "uploads")
        studio.jobs.watch(also=uploads.remove_stale)
        dataset_view.look_ahead(studio)
        try:
            answer(
                build_page(studio),
                bound,
                password=password,
                uploads=uploads,
                looks={"theme": theme(), "css": stylesheet(), "head": late.script()},
                on_ready=on_ready,
            )
        finally:
            studio.jobs.close()


def build_page(studio: Studio) -> Any:
    """Put the page together.

    Returns:
        Gradio's blocks.
    """
    with gr.Blocks(title="Veneer studio", analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="top"):
            gr.HTML(_head(studio), elem_id="head")
            demo = gr.Button("Try it with the bundled base", variant="primary", elem_id="try-demo", scale=0)
        kept = draft.store(studio)  # outside of the tabs, which are not there before they are opened
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
            with gr.Tab("Data set", id="dataset") as dataset_page:
                dataset = dataset_tab.build(studio)
            with gr.Tab("Recipe", id="recipe") as recipe_page:
                recipe = recipe_tab.build(studio, kept)
            with gr.Tab("Train", id="train") as train_page:
                train = train_tab.build(studio)
            with gr.Tab("Compare", id="compare") as compare_page:
                compare = compare_tab.build(studio)
            with gr.Tab("Runs", id="runs") as runs_page:
                wanted, table, run_lists = runs_tab.build(studio)
        dataset_tab.wire(studio, dataset, page, dataset_page.select)
        recipe_tab.wire(studio, recipe, page, recipe_page.select, train.recipe)
        dataset_tab.follow_resolution(dataset, recipe.part("encode.resolution"))
        train_tab.wire(studio, train, [page.load, train_page.select])
        compare_tab.wire(studio, compare, [compare_page.select])
        late.mark(
            busy.telling(runs_page.select, "Reading the runs"),
            lambda words: (runs_tab.overview(studio, words), *runs_tab.lists(studio)),
            [wanted],
            [table, *run_lists],
            line=runs_tab.LINE,
        )
        tabs.select(None, None, [train.clock], js=address.IS_TRAIN)
        starting = busy.telling(demo.click, "Starting the demo")
        shown = late.bind(starting, lambda: train_tab.try_demo(studio), None, [train.shown, train.message])
        shown.then(None, js=address.OPEN_TRAIN)
        _show_asked(studio, page, [train.shown, compare.run])
    _without_api(page)
    busy.without_spinners(page)
    look_at_values(page)
    return page


def _show_asked(studio: Studio, page: Any, outputs: list[Any]) -> None:
    """Open the tab and the run that the page's address names, and have the address follow from then on."""
    query = gr.JSON({}, visible=False)
    shown = late.bind(
        page.load,
        lambda asked: address.asked_for(studio, asked or {}),
        [query],
        outputs,
        ask=address.ASK_ADDRESS,
    )
    shown.then(None, js=address.OPEN_ASKED)


def theme() -> Any:
    """Colours and fonts of the page; fonts are the system's own.

    Returns:
        A Gradio theme.
    """
    return gr.themes.Default(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="zinc",
        font=SYSTEM_FONT,
        font_mono=MONO_FONT,
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_900",
        block_title_text_color_dark="*neutral_100",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover_dark="#991b1b",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
    )


def stylesheet() -> str:
    """The studio's own styles.

    Returns:
        CSS.
    """
    return (resources.files("veneer.web") / "browser" / "style.css").read_text("utf-8")


def _without_api(page: Any) -> None:
    """Let nothing but the page call its functions; to tell programs of them took nine tenths of it."""
    for function in page.fns.values():
        function.api_visibility = "private"


def _head(studio: Studio) -> str:
    place = markup.escaped(studio.workspace.root)
    return f'<header class="v-head"><h1>Veneer studio</h1><p>Workspace {place}</p></header>'


@contextlib.contextmanager
def _uploads_inside(workspace: Workspace) -> Iterator[None]:
    """Uploads land in the workspace, not in a temporary folder that other users of the machine see."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.private / "uploads")
    try:
        yield
    finally:
        os.environ.pop("GRADIO_TEMP_DIR") if before is None else os.environ.update(GRADIO_TEMP_DIR=before)
