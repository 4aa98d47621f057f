"""What the buttons of the tab Data set do: they call what `veneer collect`, `check` and `caption` call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from veneer.config import CaptionTable, CollectTable
from veneer.dataset import Dataset
from veneer.errors import VeneerError
from veneer.events import OnEvent
from veneer.web import captions, gallery, markup, uploads
from veneer.web.background import Outcome, watched
from veneer.web.dataset_view import Views, render
from veneer.web.engine import gr
from veneer.web.messages import describe, guarded
from veneer.web.studio import Studio

NEW = "pictures"
"""Name of a data set that was given none."""


def saver(studio: Studio, number: int) -> Callable[..., Any]:
    """Keep what a person wrote below a picture.

    Args:
        studio: The studio.
        number: Which picture of the page.

    Returns:
        A handler of the data set, the page's names and the text.
    """

    def save(dataset: str | None, names: list[str], text: str) -> Any:
        if not dataset or number >= len(names):
            return gr.skip()
        try:
            with studio.at_work():
                changed = captions.set_caption(studio.workspace.dataset(dataset), names[number], text)
        except Exception as error:
            return describe(error)
        return markup.news(f"The caption of {names[number]} is saved.", "good") if changed else gr.skip()

    return save


def collector(studio: Studio) -> Callable[..., Iterator[list[Any]]]:
    """Collect files that were dropped, a source, and a list of addresses.

    Args:
        studio: The studio.

    Returns:
        A handler of the data set's name, the files, and maybe a source, addresses and the most pictures to
        have in the end. Its last three outputs empty the fields once what they held is collected.
    """

    def gather(
        name: str | None,
        files: list[str] | None,
        source: str = "",
        addresses: str = "",
        limit: float | None = None,
    ) -> Any:
        wish, source = (name or NEW).strip(), source.strip()
        named = [source] if source else []

        def work(on_event: OnEvent) -> Any:
            from veneer.stages.collect import collect

            out = studio.workspace.dataset(wish)
            with studio.at_work(), uploads.staged(studio.workspace, files or []) as folder:
                if listed := uploads.address_list(studio.workspace, wish, addresses):
                    named.append(listed)
                sources = [str(folder)] if files else []
                sources += [uploads.checked_source(studio.workspace, one) for one in named]
                if not sources:
                    raise VeneerError(
                        "there is nothing to add", todo="Drop pictures, or write a search or web addresses"
                    )
                most = int(limit) if limit and named else None
                config = CollectTable(limit=most, max_file_mib=uploads.MAX_FILE_MIB)
                return collect(sources, out, config, on_event)

        outcome = Outcome()
        for told in watched(work, outcome):
            yield [gr.skip(), *[gr.skip()] * len(Views.COUNTED), told, *[gr.skip()] * 3]
        words = ["collect", *(["FOLDER"] if files else []), *named, "--out", f"datasets/{wish}"]
        said = _said(outcome, words)
        names = studio.workspace.dataset_names()
        chosen = gr.update(choices=names, value=wish) if wish in names else gr.skip()
        emptied = [gr.skip()] * 3 if outcome.error else [None, "", ""]
        yield [chosen, *_redrawn(studio, wish, gallery.ALL, 1), said, *emptied]

    return gather


def editor(studio: Studio, change: Callable[..., int]) -> Callable[..., Any]:
    """Change all captions of a data set.

    Args:
        studio: The studio.
        change: Takes the folder and words, and tells how many captions it changed.

    Returns:
        A handler of the data set, filter, page and words.
    """

    def edit(name: str | None, show: str, page: float, *words: str) -> Any:
        with studio.at_work():
            count = change(_folder(studio, name), *words)
        return (
            *render(studio, name, show, int(page or 1)),
            markup.news(f"{count} captions changed.", "good"),
        )

    return guarded(edit, (gr.skip(),) * len(Views.COUNTED))


def describer(
    studio: Studio, *, overwrite: bool, chosen_only: bool = False
) -> Callable[..., Iterator[list[Any]]]:
    """Have pictures described by a model.

    Args:
        studio: The studio.
        overwrite: Whether captions that a model wrote are written anew.
        chosen_only: Whether only the chosen pictures are, whoever wrote their captions.

    Returns:
        A handler of data set, filter, page, captioner, prefix, trigger; where chosen also names and ticks.
    """

    def describe_pictures(*values: Any) -> Iterator[list[Any]]:
        name, show, page, model, prefix, trigger, *chosen = values
        table = CaptionTable(model=model or "none", prefix=prefix, trigger=trigger)

        def work(on_event: OnEvent) -> Any:
            from veneer.stages.caption import caption

            folder = _folder(studio, name)
            with studio.at_work():
                if chosen_only:
                    return captions.describe_again(folder, _ticked(*chosen), table, on_event)
                return caption(folder, table, on_event, overwrite=overwrite)

        options = [
            word
            for key, value in (("--prefix", prefix), ("--trigger", trigger))
            if value
            for word in (key, value)
        ]
        words = [
            "caption",
            f"datasets/{name}",
            "--model",
            table.model,
            *options,
            *(["--overwrite"] if overwrite else []),
        ]
        yield from _told(studio, name, (show, page), work, words)

    return describe_pictures


def checker(
    studio: Studio, *, apply: bool = False, restore: bool = False
) -> Callable[..., Iterator[list[Any]]]:
    """Look for bad pictures.

    Args:
        studio: The studio.
        apply: Whether what `veneer check --apply` moves away is moved.
        restore: Whether everything is brought back instead.

    Returns:
        A handler of the data set and the training resolution.
    """

    def look(name: str | None, resolution: float) -> Iterator[list[Any]]:
        def work(on_event: OnEvent) -> Any:
            from veneer.stages.check import check

            with studio.at_work():
                return check(
                    _folder(studio, name),
                    resolution=int(resolution or 512),
                    apply=apply,
                    restore=restore,
                    on_event=on_event,
                )

        option = ["--apply"] * apply + ["--restore"] * restore
        show = gallery.ALL if apply or restore else gallery.FLAGGED
        yield from _told(
            studio,
            name,
            (show, 1),
            work,
            ["check", f"datasets/{name}", "--resolution", f"{resolution:g}", *option],
        )

    return look


def mover(studio: Studio, *, restore: bool) -> Callable[..., Any]:
    """Reject the chosen pictures, or bring them back.

    Args:
        studio: The studio.
        restore: Whether they are brought back.

    Returns:
        A handler of the data set, filter, page, the page's names and ticks.
    """

    def move(name: str | None, show: str, page: float, names: list[str], *ticks: bool) -> Any:
        from veneer.data.findings import Finding
        from veneer.data.rejection import bring_back, move_away

        chosen = _ticked(names, *ticks)
        dataset = Dataset(_folder(studio, name))
        with studio.at_work():
            if restore:
                count = bring_back(dataset, chosen)
            else:
                count = move_away(
                    dataset, {one: [Finding(one, "by-hand", "left out by a person")] for one in chosen}
                )
        word = "restored" if restore else "rejected; nothing is deleted"
        return (*render(studio, name, show, int(page or 1)), markup.news(f"{count} pictures {word}.", "good"))

    return guarded(move, (gr.skip(),) * len(Views.COUNTED))


def _told(
    studio: Studio,
    name: str | None,
    place: tuple[str, float],
    work: Callable[[OnEvent], Any],
    words: list[str],
) -> Iterator[list[Any]]:
    outcome = Outcome()
    for told in watched(work, outcome):
        yield [*[gr.skip()] * len(Views.COUNTED), told]
    said = _said(outcome, words)
    yield [*_redrawn(studio, name, place[0], int(place[1] or 1)), said]


def _said(outcome: Outcome, words: list[str]) -> str:
    if outcome.error is not None:
        return outcome.message("")
    return outcome.message(outcome.result.summary) + markup.command(words)


def _redrawn(studio: Studio, name: str | None, show: str, page: int) -> list[Any]:
    try:
        return render(studio, name, show, page)
    except Exception:  # the message says already what is wrong with this data set
        return [gr.skip()] * len(Views.COUNTED)


def _ticked(names: list[str], *ticks: bool) -> list[str]:
    chosen = [name for name, tick in zip(names, ticks, strict=False) if tick]
    if not chosen:
        raise VeneerError("no picture is chosen", todo="Tick “Choose” below some pictures first")
    return chosen


def _folder(studio: Studio, name: str | None) -> Path:
    if not name:
        raise VeneerError("no data set is chosen", todo="Choose one above, or drop pictures to make one")
    return studio.workspace.dataset(name)
