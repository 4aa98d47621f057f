"""What the buttons of the tab Data set do: they call what `veneer collect`, `check` and `caption` call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from veneer.captions import editing
from veneer.config import CaptionTable, CollectTable, Recipe
from veneer.errors import VeneerError
from veneer.events import OnEvent
from veneer.records.dataset import Dataset
from veneer.web import late, markup
from veneer.web.jobs.background import Outcome, watched
from veneer.web.messages import describe, guarded
from veneer.web.server.engine import gr
from veneer.web.studio import Studio
from veneer.web.tabs.dataset import gallery, uploads
from veneer.web.tabs.dataset.view import Sought, Views, subject, view_updates

NEW = "pictures"
"""Name of a data set that was given none."""


def saver(studio: Studio, number: int) -> Callable[..., Any]:
    """Keep what a person wrote below a picture.

    Args:
        number: Which picture of the page.

    Returns:
        A handler of the pictures shown and the text, None where nobody changed it. Its outputs are the text,
        where it is saved, and a message.
    """

    def save(shown: tuple[str, list[str]], text: str | None) -> Iterator[tuple[Any, Any]]:
        dataset, names = shown
        if text is None or number >= len(names):
            yield gr.skip(), gr.skip()
            return
        if studio.hands.locked():
            yield gr.skip(), markup.news(f"The caption of {names[number]} is saved as soon as this is done.")
        try:
            with studio.at_work(patient=True):
                changed = editing.set_caption(studio.workspace.dataset(dataset), names[number], text)
        except Exception as error:
            yield gr.skip(), describe(error)
            return
        told = markup.news(f"The caption of {names[number]} is saved.", "good") if changed else gr.skip()
        yield late.saved(" ".join(text.split()), subject(dataset, names[number])), told

    return save


def redrawer(studio: Studio) -> Callable[..., list[Any]]:
    """Show a data set as it is now.

    Returns:
        A handler of the data set, filter, page, words looked for and order.
    """
    return lambda name, show, page, *how: _redrawn(studio, name, show, int(page or 1), how)


def chooser(is_chosen: bool) -> Callable[..., list[Any]]:
    """Choose all pictures of the page, or none.

    Returns:
        A handler of the pictures shown. Its outputs are their ticks.
    """

    def choose(shown: tuple[str, list[str]]) -> list[Any]:
        dataset, names = shown
        ticked = [late.about(gr.update(value=is_chosen), subject(dataset, name)) for name in names]
        return [*ticked, *[gr.skip()] * (gallery.PAGE - len(names))]

    return choose


def collector(studio: Studio) -> Callable[..., Iterator[list[Any]]]:
    """Collect files that were dropped, a source, and a list of addresses.

    Returns:
        A handler of the data set's name, the files, and maybe a source, addresses and the most pictures to
        have in the end. Its outputs are the data set, filter and page to look at, the files, source and
        addresses, empty once they are collected, and a message.
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
                sources = [*([str(folder)] if files else []), *named]
                if not sources:
                    raise VeneerError(
                        "there is nothing to add", todo="Drop pictures, or write a search or web addresses"
                    )
                most = int(limit) if limit and named else None
                table = CollectTable(sources=tuple(sources), limit=most, max_file_mib=uploads.MAX_FILE_MIB)
                studio.workspace.usable(Recipe(collect=table))
                return collect(sources, out, table, on_event)

        outcome = Outcome()
        for told in watched(work, outcome):
            yield [*[gr.skip()] * 6, told]
        words = ["collect", *(["FOLDER"] if files else []), *named, "--out", f"datasets/{wish}"]
        said = _said(outcome, words)
        names = studio.workspace.dataset_names()
        place = [gr.update(choices=names, value=wish), gallery.ALL, 1] if wish in names else [gr.skip()] * 3
        emptied = [gr.skip()] * 3 if outcome.error else [None, "", ""]
        yield [*place, *emptied, said]

    return gather


def editor(studio: Studio, change: Callable[..., int]) -> Callable[..., Any]:
    """Change all captions of a data set.

    Args:
        change: Takes the folder and words, and tells how many captions it changed.

    Returns:
        A handler of the data set, filter, page, words looked for, order, and words. Its outputs are what
        is shown, what was changed, as `undoer` takes it, and a message.
    """

    def edit(name: str | None, show: str, page: float, wanted: str, order: str, *words: str) -> Any:
        folder = _folder(studio, name)
        with studio.at_work():
            before = _captions(folder)
            count = change(folder, *words)
            after = _captions(folder)
        changed = {one: [old, after[one]] for one, old in before.items() if after.get(one, old) != old}
        return (
            *view_updates(studio, name, show, int(page or 1), (wanted, order)),
            {"dataset": name, "captions": changed},
            markup.news(f"{count} captions changed.", "good"),
        )

    return guarded(edit, (gr.skip(),) * (1 + len(Views.COUNTED)))


def undoer(studio: Studio) -> Callable[..., Any]:
    """Take the last change of all captions back; a caption that was changed since stays.

    Returns:
        A handler of the data set, filter, page, words looked for, order, and what `editor` kept.
    """

    def undo(name: str | None, show: str, page: float, *how_and_kept: Any) -> Any:
        wanted, order, kept = how_and_kept
        captions = (kept or {}).get("captions", {})
        if not captions or kept["dataset"] != name:
            raise VeneerError("nothing to undo", todo="The last change of this data set's captions can be")
        old, new = ({one: pair[side] for one, pair in captions.items()} for side in (0, 1))
        with studio.at_work():
            stayed = Dataset(_folder(studio, name)).write_captions(old, new)
        told = f"{len(old) - len(stayed)} captions are as they were."
        told += f" {len(stayed)} were changed since and stay." if stayed else ""
        shown = view_updates(studio, name, show, int(page or 1), (wanted, order))
        return *shown, {}, markup.news(told, "good")

    return guarded(undo, (gr.skip(),) * (1 + len(Views.COUNTED)))


def describer(studio: Studio, *, overwrite: bool, chosen_only: bool = False) -> Callable[..., Iterator[str]]:
    """Have pictures described by a model.

    Args:
        overwrite: Whether captions that a model wrote are written anew.
        chosen_only: Whether only the chosen pictures are, whoever wrote their captions.

    Returns:
        A handler of data set, captioner, prefix, trigger; where chosen of the pictures shown and the ticks
        instead of the data set. Its output is a message.
    """

    def describe_pictures(place: Any, model: str, prefix: str, trigger: str, *ticks: bool) -> Iterator[str]:
        name, names = place if chosen_only else (place, [])
        table = CaptionTable(model=model or "none", prefix=prefix, trigger=trigger)

        def work(on_event: OnEvent) -> Any:
            from veneer.stages.caption import caption, caption_again

            studio.workspace.usable(Recipe(caption=table))
            folder = _folder(studio, name)
            with studio.at_work():
                if chosen_only:
                    return caption_again(folder, _ticked(names, *ticks), table, on_event)
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
        yield from _needs(work, words)

    return describe_pictures


def checker(
    studio: Studio, *, apply: bool = False, restore: bool = False, pick: bool = False
) -> Callable[..., Iterator[list[Any]]]:
    """Look for bad pictures.

    Args:
        apply: Whether what `veneer check --apply` moves away is moved.
        restore: Whether everything is brought back instead.
        pick: Whether pictures that differ most are picked too, through the bundled embedder.

    Returns:
        A handler of the data set, the training resolution and how many are picked. Its outputs are the
        filter and page to look at, and a message.
    """

    def look(name: str | None, resolution: float | None, number: float | None = 1) -> Iterator[list[Any]]:
        side_px, picked = int(resolution or 512), int(number or 1)  # an emptied field is none

        def work(on_event: OnEvent) -> Any:
            from veneer.models.embedder import load_embedder
            from veneer.stages.check import check

            with studio.at_work():
                return check(
                    _folder(studio, name),
                    resolution=side_px,
                    apply=apply,
                    restore=restore,
                    embedder=load_embedder("pocket") if pick else None,
                    pick=picked if pick else 0,
                    on_event=on_event,
                )

        option = ["--apply"] * apply + ["--restore"] * restore
        option += ["--pick", str(picked)] if pick else []
        words = ["check", f"datasets/{name}", "--resolution", str(side_px), *option]
        for told in _needs(work, words):
            yield [gr.skip(), gr.skip(), told]
        shown = gallery.ALL if apply or restore else gallery.PICKED if pick else gallery.FLAGGED
        yield [shown, 1, gr.skip()]

    return look


def mover(studio: Studio, *, restore: bool) -> Callable[..., Any]:
    """Reject the chosen pictures, or bring them back.

    Args:
        restore: Whether they are brought back.

    Returns:
        A handler of the filter, page, words looked for, order, the pictures shown and their ticks.
    """

    def move(show: str, page: float, wanted: str, order: str, shown: Any, *ticks: bool) -> Any:
        from veneer.data.findings import Finding
        from veneer.data.rejection import bring_back, move_away

        name, names = shown
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
        return (
            *view_updates(studio, name, show, int(page or 1), (wanted, order)),
            markup.news(f"{count} pictures {word}.", "good"),
        )

    return guarded(move, (gr.skip(),) * len(Views.COUNTED))


def _needs(work: Callable[[OnEvent], Any], words: list[str]) -> Iterator[str]:
    outcome = Outcome()
    yield from watched(work, outcome)
    yield _said(outcome, words)


def _said(outcome: Outcome, words: list[str]) -> str:
    if outcome.error is not None:
        return outcome.message("")
    return outcome.message(outcome.result.summary) + markup.command(words)


def _redrawn(studio: Studio, name: str | None, show: str, page: int, how: Sought) -> list[Any]:
    try:
        return view_updates(studio, name, show, page, how)
    except Exception:  # the message says already what is wrong with this data set
        return [gr.skip()] * len(Views.COUNTED)


def _ticked(names: list[str], *ticks: bool) -> list[str]:
    chosen = [name for name, tick in zip(names, ticks, strict=False) if tick]
    if not chosen:
        raise VeneerError("no picture is chosen", todo="Tick “Choose” below some pictures first")
    return chosen


def _captions(folder: Path) -> dict[str, str]:
    return {item.file_name: item.caption for item in Dataset(folder).items()}


def _folder(studio: Studio, name: str | None) -> Path:
    if not name:
        raise VeneerError("no data set is chosen", todo="Choose one above, or drop pictures to make one")
    return studio.workspace.dataset(name)
