"""What of a recipe leads somewhere: which keys name files, and where each text would be looked for.

A recipe may come from a stranger, or from whoever reaches the studio's page. `refuse_outside` keeps it within
folders. A key that is not known to hold words is taken for one that names files, so that a new key is kept in
until somebody says that it needs not be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from veneer.choices import SEARCHES
from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.hubnames import split_revision

WORD_KEYS = frozenset(
    {
        "caption.prefix",
        "caption.trigger",
        "caption.replacements",
        "lora.target_modules",
        "lora.init",
        "lora.rank_pattern",
        "lora.embedding_token",
        "lora.embedding_init",
        "train.learning_rates",
        "train.optimizer",
        "train.lr_scheduler",
        "train.mixed_precision",
        "train.loss_weighting",
        "train.loss_type",
        "train.timestep_sampling",
        "train.choose",
        "generate.prompts",
        "generate.negative_prompt",
        "generate.scheduler",
        "compare.general_prompts",
    }
)
"""Keys with texts that are never opened as files."""

LISTED = frozenset({"compare.embedder"})
"""Keys with several names in one text, with commas between."""


def refuse_outside(recipe: Recipe, folders: Sequence[Path], where: str = "the recipe") -> None:
    """Refuse a recipe that leads out of some folders.

    Args:
        folders: Folders, or single files; what is relative is looked for in the first.
        where: Name of the recipe's origin, for the message.

    Raises:
        RecipeError: If a key leads out, links followed; all of them in one message.
    """
    faults = outside(recipe, folders)
    if faults:
        lines = "; ".join(f"`{key}` leads out of {folders[0]}: {text}" for key, text in faults.items())
        raise RecipeError(
            lines, where=where, todo="Copy the files there, or let a person name them on the command line"
        )


def outside(recipe: Recipe, folders: Sequence[Path]) -> dict[str, str]:
    """Find the keys of a recipe that lead out of some folders.

    Args:
        folders: As for `refuse_outside`.

    Returns:
        The first text that leads out, by key.
    """
    roots = [folder.resolve() for folder in folders]
    found: dict[str, str] = {}
    for key, text in texts_of(recipe.model_dump(mode="json")):
        if not all(_is_within(name, roots) for name in names_in(key, text)):
            found.setdefault(key, text)
    return found


def texts_of(tables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a recipe that may name files.

    Args:
        tables: Settings by table and key.

    Yields:
        Full keys, such as "base.model", with a text; keys of a mapping are texts too.
    """
    for table, settings in tables.items():
        for name, value in settings.items():
            if (key := f"{table}.{name}") not in WORD_KEYS:
                yield from ((key, text) for text in _texts(value))


def names_in(key: str, text: str) -> list[str]:
    """What a text has opened, as the code that opens it reads it.

    Args:
        key: Full key, such as "collect.sources".

    Returns:
        Paths, and names that would be paths where such a file is there; none for a search on the web.
    """
    if key == "collect.sources":
        return source_names(text)
    parts = text.split(",") if key in LISTED else [text]
    names = [*parts, *(part.strip() for part in parts)]
    return [*names, *(split_revision(name)[0] for name in names)]


def source_names(source: str) -> list[str]:
    """What a source of pictures has opened.

    Args:
        source: As `veneer collect` takes it.

    Returns:
        Paths, and names of the hub; none for a search.
    """
    kind, _, rest = source.partition(":")
    if source.startswith(SEARCHES):
        return []
    if kind in {"urls", "hf"}:
        return [source, rest, rest.strip(), rest.partition(";")[0].strip()]
    return [source, source.strip()]


def _is_within(name: str, roots: Sequence[Path]) -> bool:
    if "://" in name:
        return False
    try:
        path = (roots[0] / Path(name).expanduser()).resolve()
    except (ValueError, OSError, RuntimeError):  # a zero, a loop of links, ~ of nobody
        return False
    return any(path.is_relative_to(root) for root in roots)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (str(key), *_texts(one))
    elif isinstance(value, Sequence):
        for one in value:
            yield from _texts(one)
