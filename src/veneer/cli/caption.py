"""``veneer caption``: captions for the pictures of a data set that have none, and words changed in all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from veneer.cli.options import DatasetFolder, Json, Quiet, optional_embedder
from veneer.cli.output import print_result

_EDITS = "Words in captions that are there"


@dataclass(frozen=True)
class EditResult:
    """What changing words did.

    Attributes:
        dataset: The data set.
        changed: Captions changed, or that would be.
    """

    dataset: str
    changed: int

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.dataset}: {self.changed} captions changed"


_Model = Annotated[
    str,
    typer.Option(
        "--model", metavar="ID", help="Captioner: hub name, folder, pocket, or none for file names."
    ),
]
_Prefix = Annotated[
    str, typer.Option("--prefix", metavar="TEXT", help="Text before every generated caption.")
]
_Trigger = Annotated[str, typer.Option("--trigger", metavar="WORD", help="Word that later calls the style.")]
_Replacement = Annotated[
    list[str] | None,
    typer.Option(
        "--replace", metavar="OLD=NEW", help="Word to replace in generated captions; several at once."
    ),
]
_Embedder = Annotated[
    str,
    typer.Option(
        "--embedder", metavar="ID", help="Also look how well captions fit: pocket, or a CLIP by name."
    ),
]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Generate captions again that a model made; a person's stay.")
]
_Prune = Annotated[
    bool,
    typer.Option("--prune", help="Only take lines out that name no picture; a copy is kept."),
]
_Find = Annotated[
    str | None,
    typer.Option(
        "--find", metavar="WORDS", help="Ask no model: words to find in captions.", rich_help_panel=_EDITS
    ),
]
_ReplaceWith = Annotated[
    str | None,
    typer.Option("--replace-with", metavar="WORDS", help="What takes their place.", rich_help_panel=_EDITS),
]
_Only = Annotated[
    str,
    typer.Option(
        "--only", metavar="GLOB", help="Pictures meant, such as 'images/0*'.", rich_help_panel=_EDITS
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Count only, and write nothing.")]


def caption(
    dataset: DatasetFolder,
    model: _Model = "Salesforce/blip-image-captioning-large",
    prefix: _Prefix = "",
    trigger: _Trigger = "",
    replacement: _Replacement = None,
    embedder: _Embedder = "",
    overwrite: _Overwrite = False,
    prune: _Prune = False,
    find: _Find = None,
    replace_with: _ReplaceWith = None,
    only: _Only = "",
    dry_run: _DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Caption the pictures that have no caption; what a person wrote or edited is never written over.

    With --find, no model is asked: words are changed in captions that are there, of a data set or a run.
    """
    if find is not None or replace_with is not None or only:
        if overwrite or prune or replacement or prefix or trigger or embedder:
            raise typer.BadParameter("--find asks no model: leave the options of captioning out")
        print_result(_replaced(dataset, find, replace_with, only, dry_run=dry_run), as_json=as_json)
        return 0
    from veneer.cli.progress import ProgressPrinter
    from veneer.config import CaptionTable
    from veneer.stages.caption import caption as caption_pictures

    table = CaptionTable(
        model=model, prefix=prefix, trigger=trigger, replacements=_replacements(replacement or [])
    )
    with ProgressPrinter(quiet, ("caption",)) as on_event:
        result = caption_pictures(
            dataset,
            table,
            on_event,
            overwrite=overwrite,
            dry_run=dry_run,
            prune=prune,
            embedder=optional_embedder("" if dry_run else embedder),
        )
    print_result(result, as_json=as_json, words=result.summary + (f" ({result.news})" if result.news else ""))
    return 0


def _replaced(folder: Path, find: str | None, put: str | None, only: str, *, dry_run: bool) -> EditResult:
    """Change words of a data set, or of a run's."""
    if find is None or put is None:
        raise typer.BadParameter("--find and --replace-with go together; --only says in which pictures")
    from veneer.captions.editing import replace_text
    from veneer.records.run import RunDir

    run = RunDir(folder)
    dataset = run.dataset if run.recipe_toml.is_file() else folder
    return EditResult(str(dataset), replace_text(dataset, find, put, only, dry_run=dry_run))


def _replacements(pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if not pair.partition("=")[0] or "=" not in pair]
    if wrong:
        raise typer.BadParameter(f"--replace {wrong[0]!r}: write OLD=NEW")
    return {old: new for old, _, new in (pair.partition("=") for pair in pairs)}
