"""The tab Data set: gather pictures, look through them, write captions, reject and restore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from veneer.captions import editing
from veneer.web import busy, late, offers
from veneer.web.messages import guarded
from veneer.web.server.engine import gr
from veneer.web.studio import Studio
from veneer.web.tabs.dataset import gallery, uploads
from veneer.web.tabs.dataset import work as dataset_work
from veneer.web.tabs.dataset.view import Views, build_cards, view_updates

TURNING = "Fetching pictures"
_LINE = "dataset"
"""Questions about what is shown are answered as they were asked: shown last is what was chosen last."""


@dataclass(frozen=True)
class DatasetTab:
    """The tab's parts.

    Attributes:
        chosen: Which data set.
        views: What is redrawn when something changes.
        resolution: Training resolution that pictures are looked at for.
    """

    chosen: Any
    views: Views
    message: Any
    resolution: Any


@dataclass(frozen=True)
class Gathering:
    """Where pictures are dropped or sources written.

    Attributes:
        files: Dropped files.
        source: A search, hub data set or folder.
        addresses: Web addresses, one a line.
        limit: Most pictures of the data set.
        collect: Button that collects all of it.
        folder: Button that takes a whole folder.
    """

    files: Any
    source: Any
    addresses: Any
    limit: Any
    collect: Any
    folder: Any


def build(studio: Studio) -> DatasetTab:
    """Lay out the tab.

    Returns:
        Its parts.
    """
    chosen = gr.Dropdown(
        [], label="Data set", allow_custom_value=True, elem_id="dataset-name",
        info="Choose one, or write the name of a new one.",
    )  # fmt: skip
    gathering = _gathering()
    message = gr.HTML(elem_id="dataset-message")
    facts = gr.HTML(elem_id="dataset-facts")
    with gr.Row(elem_classes="v-tools", visible=False) as browsing:
        show = gr.Dropdown([gallery.ALL], value=gallery.ALL, label="Show", elem_id="dataset-show")
        wanted = gr.Textbox(
            label="With the words", placeholder="in names, captions, findings", max_lines=1,
            elem_id="dataset-wanted",
        )  # fmt: skip
        orders = [gallery.AS_TAKEN, *gallery.ORDERS]
        order = gr.Dropdown(orders, value=gallery.AS_TAKEN, label="Order", elem_id="dataset-order")
        page = gr.Number(1, label="Page", minimum=1, precision=0, elem_id="dataset-page")
        back = gr.Button("Page before", elem_id="dataset-back")
        on = gr.Button("Next page", elem_id="dataset-on")
    cards = build_cards()
    with gr.Column(visible=False) as working:
        resolution = gr.Number(
            512, label="Training resolution (pixels)", minimum=32, precision=0, render=False,
            info="Follows the tab Recipe, until you write one here.", elem_id="dataset-resolution",
        )  # fmt: skip
        tab = DatasetTab(
            chosen,
            Views(facts, show, page, (wanted, order), back, on, (browsing, working), cards),
            message,
            resolution,
        )
        with gr.Row(elem_classes="v-tools"):
            every = gr.Button("Choose all of this page", elem_id="dataset-every")
            no_one = gr.Button("Choose none", elem_id="dataset-none")
            reject = gr.Button("Reject chosen", elem_id="dataset-reject")
            restore = gr.Button("Restore chosen", elem_id="dataset-restore")
            again = gr.Button("Describe chosen again", elem_id="dataset-again")
        _caption_tools(studio, tab, again)
        _check_tools(studio, tab)
    _wire_gathering(studio, tab, gathering)
    _wire_pages(studio, tab, back, on)
    _wire_cards(studio, tab, reject, restore)
    for button, is_chosen in ((every, True), (no_one, False)):
        late.bind(button.click, dataset_work.chooser(is_chosen), [cards.shown], cards.ticks)
    return tab


def _gathering() -> Gathering:
    with gr.Accordion("Add pictures", open=True):
        with gr.Row():
            files = gr.File(
                label="Drop pictures here (and captions as .txt)", file_count="multiple",
                file_types=list(uploads.ACCEPTED), elem_id="dataset-files", height=235,
            )  # fmt: skip
            with gr.Column():
                source = gr.Textbox(
                    label="or from a search or folder", placeholder="bing:8-bit city", max_lines=1,
                    info="bing:QUERY, hf:NAME, urls:FILE, pocket, or a folder in the workspace",
                    elem_id="dataset-source",
                )  # fmt: skip
                addresses = gr.Textbox(
                    label="or from web addresses, one a line", lines=2, max_lines=6,
                    placeholder="https://example.org/picture.png", elem_id="dataset-addresses",
                )  # fmt: skip
        with gr.Row(elem_classes="v-tools"):
            collect = gr.Button("Add pictures", variant="primary", elem_id="dataset-collect")
            folder = gr.UploadButton("Add a whole folder", file_count="directory", elem_id="dataset-folder")
            limit = gr.Number(
                100, label="From the net: at most (pictures in all)", minimum=1, precision=0,
                elem_id="dataset-limit",
            )  # fmt: skip
    return Gathering(files, source, addresses, limit, collect, folder)


def wire(studio: Studio, tab: DatasetTab, page: Any, opened: Any) -> None:
    """Fill the tab when the page is opened.

    Args:
        page: The page as a whole.
        opened: Event of the tab being opened: data sets made meanwhile are then offered.
    """

    def fill() -> Any:
        names = studio.workspace.dataset_names()
        return late.lasting(gr.update(choices=names, value=names[0] if names else None))

    def offer() -> Any:
        return gr.update(choices=studio.workspace.dataset_names())

    _shown_anew(studio, tab, late.bind(page.load, fill, None, [tab.chosen]))
    late.mark(opened, offer, None, [tab.chosen])


def follow_resolution(tab: DatasetTab, resolution: Any) -> None:
    """Look at pictures for the resolution of the tab Recipe, unless a person wrote another.

    Args:
        resolution: The recipe's field.
    """
    late.bind(
        resolution.change, lambda side: late.lasting(gr.update(value=side or 512)), [resolution],
        [tab.resolution], trigger_mode="always_last",
    )  # fmt: skip


def _shown_anew(studio: Studio, tab: DatasetTab, done: Any) -> None:
    """Show what is chosen by then, once something else is done: that may have taken minutes."""
    late.bind(
        done.then, dataset_work.redrawer(studio), _looked_at(tab), tab.views.outputs,
        line=_LINE, preprocess=False,
    )  # fmt: skip


def _place(tab: DatasetTab) -> list[Any]:
    return [tab.chosen, tab.views.show, tab.views.page]


def _looked_at(tab: DatasetTab) -> list[Any]:
    """What is looked at, and how: the first inputs of every question that shows pictures anew."""
    return [*_place(tab), *tab.views.sought]


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
            undo = gr.Button("Undo the last change", elem_id="dataset-undo")
        with gr.Row():
            model = gr.Dropdown(
                list(offers.CAPTIONERS), value=offers.POCKET, label="Captioner",
                allow_custom_value=True, elem_id="dataset-captioner",
                info="Choose one, or write a hub name or a folder.",
            )  # fmt: skip
            lead = gr.Textbox(label="Prefix of generated captions", elem_id="dataset-lead")
            trigger = gr.Textbox(label="Trigger word", elem_id="dataset-trigger")
        with gr.Row():
            missing = gr.Button("Describe what has no caption", variant="primary", elem_id="dataset-caption")
            everything = gr.Button("Describe all again (a person's words stay)", elem_id="dataset-recaption")
    kept, cards = gr.State({}), tab.views.cards
    out = [*tab.views.outputs, kept, tab.message]
    undoing, seen = busy.telling(undo.click, "Changing captions"), [*_looked_at(tab), kept]
    late.bind(undoing, dataset_work.undoer(studio), seen, out, line=_LINE)
    for button, change, words in (
        (replace, editing.replace_text, [find, put]),
        (before, editing.put_before, [prefix]),
    ):
        edit = dataset_work.editor(studio, change)
        late.bind(
            busy.telling(button.click, "Changing captions"), edit, [*_looked_at(tab), *words], out, line=_LINE
        )
    how = [model, lead, trigger]
    for button, overwrite in ((missing, False), (everything, True)):
        describe = dataset_work.describer(studio, overwrite=overwrite)
        asking = busy.telling(button.click, "Describing pictures")
        _shown_anew(studio, tab, asking(describe, [tab.chosen, *how], [tab.message]))
    describe = dataset_work.describer(studio, overwrite=False, chosen_only=True)
    asking = busy.telling(again.click, "Describing pictures")
    _shown_anew(studio, tab, asking(describe, [cards.shown, *how, *cards.ticks], [tab.message]))


def _check_tools(studio: Studio, tab: DatasetTab) -> None:
    with gr.Accordion("Look for bad pictures", open=False):
        tab.resolution.render()
        with gr.Row():
            look = gr.Button("Check", variant="primary", elem_id="dataset-check")
            apply = gr.Button("Check, and reject copies and broken ones", elem_id="dataset-apply")
            restore = gr.Button("Restore all that were rejected", elem_id="dataset-restore-all")
        with gr.Row(elem_classes="v-tools"):
            number = gr.Number(20, label="Pictures to pick", minimum=1, precision=0, elem_id="dataset-number")
            pick = gr.Button("Pick those that differ most", elem_id="dataset-pick")
    asked, out = [tab.chosen, tab.resolution], [tab.views.show, tab.views.page, tab.message]
    picking = busy.telling(pick.click, "Picking pictures")
    picker = dataset_work.checker(studio, pick=True)
    _shown_anew(studio, tab, late.bind(picking, picker, [*asked, number], out, unless=[tab.chosen]))
    for button, what in ((look, {}), (apply, {"apply": True}), (restore, {"restore": True})):
        check = dataset_work.checker(studio, **what)
        looking = busy.telling(button.click, "Looking at the pictures")
        _shown_anew(studio, tab, late.bind(looking, check, asked, out, unless=[tab.chosen]))


def _wire_gathering(studio: Studio, tab: DatasetTab, parts: Gathering) -> None:
    gather, emptied = dataset_work.collector(studio), [parts.files, parts.source, parts.addresses]
    out = [*_place(tab), *emptied, tab.message]
    asked = [tab.chosen, *emptied, parts.limit]
    for moment, given in ((parts.collect.click, asked), (parts.folder.upload, [tab.chosen, parts.folder])):
        adding = busy.telling(moment, "Adding pictures")
        _shown_anew(studio, tab, late.bind(adding, gather, given, out, unless=[tab.chosen]))


def _wire_pages(studio: Studio, tab: DatasetTab, back: Any, on: Any) -> None:
    views = tab.views
    fails = (gr.skip(),) * len(views.outputs)

    def turned(step: int) -> Callable[..., Any]:
        return guarded(
            lambda n, s, p, *how: (*view_updates(studio, n, s, int(p or 1) + step, how), ""), fails
        )

    place, out = _looked_at(tab), [*views.outputs, tab.message]
    how: dict[str, Any] = {"line": _LINE}
    late.bind(busy.telling(back.click, TURNING), turned(-1), place, out, **how)
    late.bind(busy.telling(on.click, TURNING), turned(1), place, out, **how)
    late.bind(views.page.submit, turned(0), place, out, **how)
    how["trigger_mode"] = "always_last"
    fresh = guarded(lambda n, s, *how: (*view_updates(studio, n, s, 1, how), ""), fails)
    asked = [*place[:2], *views.sought]
    for part in (views.show, *views.sought):
        # a text that is filled in at once has, at its `input`, the value from before
        moment = part.change if isinstance(part, gr.Textbox) else part.input
        late.bind(busy.telling(moment, TURNING), fresh, asked, out, **how)
    first = guarded(lambda n: (*view_updates(studio, n, gallery.ALL, 1), ""), fails)
    late.bind(busy.telling(tab.chosen.input, TURNING), first, [tab.chosen], out, **how)


def _wire_cards(studio: Studio, tab: DatasetTab, reject: Any, restore: Any) -> None:
    cards = tab.views.cards
    for number, text in enumerate(cards.texts):
        late.bind(
            text.blur,
            dataset_work.saver(studio, number),
            [cards.shown, text],
            [text, tab.message],
            ask=late.unsaved(text),
            line="captions",
            trigger_mode="multiple",
        )
    place = [tab.views.show, tab.views.page, *tab.views.sought, cards.shown, *cards.ticks]
    out = [*tab.views.outputs, tab.message]
    late.bind(
        busy.telling(reject.click, "Moving pictures"),
        dataset_work.mover(studio, restore=False),
        place,
        out,
        line=_LINE,
    )
    late.bind(
        busy.telling(restore.click, "Moving pictures"),
        dataset_work.mover(studio, restore=True),
        place,
        out,
        line=_LINE,
    )
