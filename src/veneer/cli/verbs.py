"""The verbs by what they are for, each with the line that ``veneer --help`` says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from veneer.cli import (
    caption,
    check,
    collect,
    compare,
    doctor,
    encode,
    export,
    generate,
    importing,
    inspect,
    merge,
    recipes,
    report,
    resize,
    run,
    sweep,
    train,
    ui,
)

Verb = tuple[Callable[..., int], str]

GROUPS: Mapping[str, tuple[Verb, ...]] = {
    "The whole path": (
        (run.run, "A recipe through all stages, and the verdict."),
        (sweep.sweep, "Many settings of a recipe: the best, confirmed."),
        (ui.ui, "The same in a browser page, offline."),
    ),
    "One stage each": (
        (collect.collect, "Pictures into a data-set folder."),
        (check.check, "Duplicates and bad pictures, and a contact sheet."),
        (caption.caption, "Captions for pictures that have none."),
        (encode.encode, "Latents and text states, once."),
        (train.train, "The LoRA; goes on where it stopped."),
        (export.export, "LoRA files for every tool."),
        (generate.generate, "Pictures of prompts and seeds."),
        (compare.compare, "Base against tuned: the verdict."),
        (report.report, "One page that opens offline."),
    ),
    "LoRA files": (
        (inspect.inspect, "What is in one."),
        (merge.merge, "Several added up into one."),
        (resize.resize, "One made smaller."),
    ),
    "Before you start": ((doctor.doctor, "What this machine has and can do."),),
}
RECIPES = "Bundled recipes: list, show, copy."
IMPORT = "A recipe from kohya, OneTrainer, ai-toolkit."


class GroupedVerbs(TyperGroup):
    """A help page that lists verbs by what they are for, each on one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        titles = {verb.__name__: title for title, verbs in GROUPS.items() for verb, _ in verbs}
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows[titles.get(name, "Before you start")].append((name, command.short_help or ""))
        for title, lines in rows.items():
            with formatter.section(title):
                formatter.write_dl(lines)


def add_verbs(app: typer.Typer) -> None:
    """Give an application every verb."""
    for verbs in GROUPS.values():
        for verb, line in verbs:
            app.command(short_help=line)(verb)
    app.add_typer(recipes.app, name="recipes", short_help=RECIPES)
    app.add_typer(importing.imports, name="import", short_help=IMPORT)
