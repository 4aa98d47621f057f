"""What the tab Data set shows of a data set: facts, filters, and a page of pictures with their captions."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from veneer.errors import VeneerError
from veneer.web import late, markup
from veneer.web.server.engine import gr
from veneer.web.studio import Studio
from veneer.web.tabs.dataset import gallery

Sought = tuple[str, str]
"""Words that pictures are looked for by, and their order."""


@dataclass(frozen=True)
class Cards:
    """A page of pictures.

    Attributes:
        boxes: What holds each.
        texts: Their captions.
        ticks: Whether each is chosen.
        shown: Hidden in the page: name of the data set, and file names of the pictures.
        empty: What is said where there is no picture.
    """

    boxes: list[Any]
    pictures: list[Any]
    texts: list[Any]
    ticks: list[Any]
    shown: Any
    empty: Any


@dataclass(frozen=True)
class Views:
    """Everything that is redrawn when a data set changes.

    Attributes:
        facts: Counts, sizes, buckets.
        show: The filter.
        page: The page's number.
        sought: Words that are looked for, and the order.
        back: Button to the page before.
        on: Button to the next page.
        tools: What there is to do with pictures; hidden where there are none.
        cards: The pictures.
    """

    COUNTED: ClassVar[range] = range(9 + 4 * gallery.PAGE)
    """One for each output."""

    facts: Any
    show: Any
    page: Any
    sought: tuple[Any, Any]
    back: Any
    on: Any
    tools: tuple[Any, Any]
    cards: Cards

    @property
    def outputs(self) -> list[Any]:
        """Parts in the order in which `view_updates` gives their updates."""
        cards = self.cards
        return [
            self.facts, self.show, self.page, self.back, self.on, *self.tools, cards.shown, cards.empty,
            *cards.boxes, *cards.pictures, *cards.texts, *cards.ticks,
        ]  # fmt: skip


def build_cards() -> Cards:
    """Lay out a page of pictures, all of them hidden.

    Returns:
        Its parts.
    """
    shown = gr.JSON(["", []], visible=False, elem_id="dataset-shown")
    cards = Cards([], [], [], [], shown, gr.HTML(elem_id="dataset-empty"))
    with gr.Row(elem_id="dataset-cards"):
        for number in range(gallery.PAGE):
            with gr.Column(min_width=200, visible=False, elem_classes="v-card") as box:
                cards.pictures.append(gr.HTML(elem_id=f"card-{number}"))
                cards.texts.append(
                    gr.Textbox(
                        label="Caption", lines=2, max_lines=4, elem_id=f"caption-{number}", interactive=True
                    )
                )
                cards.ticks.append(gr.Checkbox(label="Choose", elem_id=f"tick-{number}", interactive=True))
            cards.boxes.append(box)
    return cards


def view_updates(studio: Studio, name: str | None, show: str, page: int, how: Sought = ("", "")) -> list[Any]:
    """Updates of everything that shows a data set.

    Args:
        name: Name of the data set; None where there is none.
        show: The filter.
        page: Number of the page, from 1; out of range is put right.
        how: Words that are looked for, and the order.

    Returns:
        One update for each of `Views.outputs`.

    Raises:
        DatasetError: If the data set cannot be read.
    """
    folder = studio.workspace.dataset(name) if name else None
    if folder is None or not folder.is_dir():
        text = markup.empty(
            "No pictures yet",
            "Drop some above, or write a search or web addresses beside it, then press “Add pictures”.",
        )
        show_all = gr.update(choices=[gallery.ALL], value=gallery.ALL)
        return [
            "",
            show_all,
            1,
            *[gr.update(visible=False)] * 4,
            ["", []],
            text,
            *itertools.chain(*_hidden(gallery.PAGE)),
        ]
    pictures = gallery.read_gallery(folder)
    filters = pictures.filters()
    show = show if show in {value for _, value in filters} else gallery.ALL
    shown = pictures.sorted(show, *how)
    pages = max(1, -(-len(shown) // gallery.PAGE))
    page = min(max(1, page), pages)
    cards = shown[(page - 1) * gallery.PAGE : page * gallery.PAGE]
    cache = studio.workspace.thumbnails
    updates = _card_updates(name or "", cards, cache, rejected=show == gallery.REJECTED)
    gallery.make_ahead(shown[page * gallery.PAGE : (page + 2) * gallery.PAGE], cache)
    asked = f"“{show}” with “{how[0].strip()}”" if how[0].strip() else f"“{show}”"
    empty = "" if cards else markup.empty("No picture here", f"Nothing fits {asked}. Choose another filter.")
    return [
        gallery.dataset_facts(folder, pictures),
        gr.update(choices=filters, value=show),
        gr.update(value=page, label=f"Page (of {pages})", maximum=pages),
        gr.update(visible=pages > 1, interactive=page > 1),
        gr.update(visible=pages > 1, interactive=page < pages),
        *[gr.update(visible=True)] * 2,
        [name, [card.name for card in cards]],
        empty,
        *updates,
    ]


def subject(dataset: str, name: str) -> str:
    """What the fields below a picture are about.

    Args:
        dataset: Name of the data set.
        name: File name of the picture.

    Returns:
        A text of its own for each picture.
    """
    return f"{dataset}/{name}"


def look_ahead(studio: Studio) -> None:
    """Make the thumbnails that the page will show first, while the page itself is being put together."""
    gallery.make_ahead(_first_cards(studio), studio.workspace.thumbnails)


def _first_cards(studio: Studio) -> Iterator[gallery.Card]:
    with contextlib.suppress(VeneerError):  # the page says what is wrong with a data set when it shows it
        for name in studio.workspace.dataset_names()[:1]:
            yield from gallery.read_gallery(studio.workspace.dataset(name)).cards[: gallery.PAGE]


def _card_updates(dataset: str, cards: list[gallery.Card], cache: Any, *, rejected: bool) -> list[Any]:
    """Boxes, pictures, captions and ticks; captions and ticks are about their pictures."""
    rest = gallery.PAGE - len(cards)
    boxes: list[Any] = []
    pictures: list[Any] = []
    texts: list[Any] = []
    ticks: list[Any] = []
    for card in cards:
        of = subject(dataset, card.name)
        can_tick = not rejected or card.can_return
        boxes.append(gr.update(visible=True))
        pictures.append(gallery.card_html(card, cache))
        texts.append(late.lasting(late.about(gr.update(value=card.caption, interactive=not rejected), of)))
        ticks.append(late.about(gr.update(value=False, interactive=can_tick), of))
    parts = zip((boxes, pictures, texts, ticks), _hidden(rest), strict=True)
    return [update for shown, hidden in parts for update in (*shown, *hidden)]


def _hidden(count: int) -> list[list[Any]]:
    """The same of cards without a picture."""
    nothing = [gr.update(visible=False), "", *(late.about(gr.update(value=no), "") for no in ("", False))]
    return [[update] * count for update in nothing]
