"""The tab Data set: gather pictures, look through them, write captions, reject and restore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from veneer.web import captions, dataset_work, gallery, uploads
from veneer.web.dataset_view import Views, build_cards, render
from veneer.web.engine import gr
from veneer.web.messages import guarded
from veneer.web.studio import Studio

CAPTIONERS = ("pocket", "Salesforce/blip-image-captioning-base", "none")


@dataclass(frozen=True)
class DatasetTab:
    """The tab's parts.

    Attributes:
        chosen: Which data set.
        views: What is redrawn when something changes.
        message: What the last button said.
    """

    chosen: Any
    views: Views
    message: Any


def build(studio: Studio) -> DatasetTab:
    """Lay out the tab.

    Args:
        studio: The studio.

    Returns:
        Its parts.
    """
    chosen = gr.Dropdown(
        [], label="Data set", allow_custom_value=True, elem_id="dataset-name",
        info="Choose one, or write the name of a new one.",
    )  # fmt: skip
    with gr.Accordion("Add pictures", open=True):
        with gr.Row():
            files = gr.File(
                label="Drop pictures here (and captions as .txt)", file_count="multiple",
                file_types=list(uploads.ACCEPTED), elem_id="dataset-files", height=150,
            )  # fmt: skip
            with gr.Column():
                source = gr.Textbox(
                    label="or from a source", placeholder="bing:8-bit city", elem_id="dataset-source",
                    info="bing:QUERY, urls:FILE, hf:NAME, pocket, or a folder in the workspace",
                )  # fmt: skip
                limit = gr.Number(
                    100, label="At most (pictures)", minimum=1, precision=0, elem_id="dataset-limit"
                )
        with gr.Row():
            collect = gr.Button("Collect", variant="primary", elem_id="dataset-collect")
            folder = gr.UploadButton("Add a whole folder", file_count="directory", elem_id="dataset-folder")
    message = gr.HTML(elem_id="dataset-message")
    facts = gr.HTML(elem_id="dataset-facts")
    with gr.Row(elem_classes="v-tools"):
        show = gr.Dropdown([gallery.ALL], value=gallery.ALL, label="Show", elem_id="dataset-show")
        page = gr.Number(1, label="Page", minimum=1, precision=0, elem_id="dataset-page")
        back = gr.Button("Earlier", elem_id="dataset-back")
        on = gr.Button("Later", elem_id="dataset-on")
    cards = build_cards()
    views = Views(facts, show, page, cards)
    tab = DatasetTab(chosen, views, message)
    with gr.Row():
        reject = gr.Button("Reject chosen", elem_id="dataset-reject")
        restore = gr.Button("Restore chosen", elem_id="dataset-restore")
        again = gr.Button("Describe chosen again", elem_id="dataset-again")
    _caption_tools(studio, tab, again)
    _check_tools(studio, tab)
    _wire_pages(studio, tab, back, on)
    _wire_cards(studio, tab, reject, restore)
    gathered = [chosen, *views.outputs, message]
    gather = dataset_work.collector(studio)
    done = collect.click(gather, [chosen, files, source, limit], gathered)
    done.then(lambda: (None, ""), None, [files, source])
    folder.upload(gather, [chosen, folder], gathered)
    return tab


def wire(studio: Studio, tab: DatasetTab, page: Any) -> None:
    """Fill the tab when the page is opened.

    Args:
        studio: The studio.
        tab: Its parts.
        page: The page as a whole.
    """

    def fill() -> list[Any]:
        names = studio.workspace.dataset_names()
        first = names[0] if names else None
        update = gr.update(choices=names, value=first)
        return [update, *render(studio, first, gallery.ALL, 1), ""]

    page.load(
        guarded(fill, (gr.skip(),) * (1 + len(tab.views.outputs))),
        None,
        [tab.chosen, *tab.views.outputs, tab.message],
        show_progress="hidden",
    )


def _caption_tools(studio: Studio, tab: DatasetTab, again: Any) -> None:
    with gr.Accordion("Captions of all pictures", open=False):
        with gr.Row():
            find = gr.Textbox(label="Find", elem_id="dataset-find")
            put = gr.Textbox(label="Replace with", elem_id="dataset-put")
            replace = gr.Button("Replace in all", elem_id="dataset-replace")
        with gr.Row():
            prefix = gr.Textbox(
                label="Put before all captions", placeholder="8-bit illustration of", elem_id="dataset-prefix"
            )
            before = gr.Button("Put before all", elem_id="dataset-before")
        with gr.Row():
            model = gr.Dropdown(
                list(CAPTIONERS), value=CAPTIONERS[0], label="Captioner",
                allow_custom_value=True, elem_id="dataset-captioner",
                info="pocket is bundled; none takes the files' names; others are hub names or folders",
            )  # fmt: skip
            lead = gr.Textbox(label="Prefix of generated captions", elem_id="dataset-lead")
            trigger = gr.Textbox(label="Trigger word", elem_id="dataset-trigger")
        with gr.Row():
            missing = gr.Button("Describe what has no caption", variant="primary", elem_id="dataset-caption")
            everything = gr.Button("Describe all again (a person's words stay)", elem_id="dataset-recaption")
    place = [tab.chosen, tab.views.show, tab.views.page]
    out = [*tab.views.outputs, tab.message]
    replace.click(dataset_work.editor(studio, captions.replace_text), [*place, find, put], out)
    before.click(dataset_work.editor(studio, captions.put_before), [*place, prefix], out)
    asked = [*place, model, lead, trigger]
    missing.click(dataset_work.describer(studio, overwrite=False), asked, out)
    everything.click(dataset_work.describer(studio, overwrite=True), asked, out)
    again.click(
        dataset_work.describer(studio, overwrite=False, chosen_only=True),
        [*asked, tab.views.cards.names, *tab.views.cards.ticks],
        out,
    )


def _check_tools(studio: Studio, tab: DatasetTab) -> None:
    with gr.Accordion("Look for bad pictures", open=False):
        resolution = gr.Number(
            512, label="Training resolution (px)", minimum=32, precision=0, elem_id="dataset-resolution"
        )
        with gr.Row():
            look = gr.Button("Check", variant="primary", elem_id="dataset-check")
            apply = gr.Button("Check, and reject copies and broken ones", elem_id="dataset-apply")
            restore = gr.Button("Restore all that were rejected", elem_id="dataset-restore-all")
    out = [*tab.views.outputs, tab.message]
    asked = [tab.chosen, resolution]
    look.click(dataset_work.checker(studio), asked, out)
    apply.click(dataset_work.checker(studio, apply=True), asked, out)
    restore.click(dataset_work.checker(studio, restore=True), asked, out)


def _wire_pages(studio: Studio, tab: DatasetTab, back: Any, on: Any) -> None:
    views = tab.views
    fails = (gr.skip(),) * len(views.outputs)

    def turned(step: int) -> Callable[..., Any]:
        return guarded(lambda n, s, p: (*render(studio, n, s, int(p or 1) + step), ""), fails)

    place, out = [tab.chosen, views.show, views.page], [*views.outputs, tab.message]
    back.click(turned(-1), place, out, show_progress="hidden")
    on.click(turned(1), place, out, show_progress="hidden")
    views.page.submit(turned(0), place, out, show_progress="hidden")
    fresh = guarded(lambda n, s: (*render(studio, n, s, 1), ""), fails)
    views.show.input(fresh, place[:2], out, show_progress="hidden")
    tab.chosen.input(
        guarded(lambda n: (*render(studio, n, gallery.ALL, 1), ""), fails),
        [tab.chosen],
        out,
        show_progress="hidden",
    )


def _wire_cards(studio: Studio, tab: DatasetTab, reject: Any, restore: Any) -> None:
    cards = tab.views.cards
    for number, text in enumerate(cards.texts):
        text.blur(
            dataset_work.saver(studio, number),
            [tab.chosen, cards.names, text],
            [tab.message],
            show_progress="hidden",
        )
    place = [tab.chosen, tab.views.show, tab.views.page, cards.names, *cards.ticks]
    out = [*tab.views.outputs, tab.message]
    reject.click(dataset_work.mover(studio, restore=False), place, out)
    restore.click(dataset_work.mover(studio, restore=True), place, out)
