"""Names of models on the hub, with the revision that is asked for: ``OWNER/NAME@REVISION``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from veneer.config import Recipe

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
CLIP, DINO = "openai/clip-vit-large-patch14", "facebook/dinov2-base"
"""What `compare.embedder = "auto"` looks through where the base is not the bundled one."""
OWN = frozenset({"", "pocket", "none"})
"""Words that name no model of the hub by themselves."""


def split_revision(name: str) -> tuple[str, str | None]:
    """Take a name apart; a path stays whole, whatever is in it.

    Returns:
        The name, and the revision: a commit, a tag or a branch; None where it names none.
    """
    bare, mark, revision = name.partition("@")
    is_both = bool(mark and _NAME.fullmatch(bare) and _REVISION.fullmatch(revision))
    return (bare, revision) if is_both and not Path(name).exists() else (name, None)


def embedder_names(embedder: str, base_model: str) -> list[str]:
    """The models that `compare.embedder` names: "auto" is the bundled CLIP for the bundled base, else two."""
    if embedder == "auto":
        return ["pocket"] if base_model == "pocket" else [CLIP, DINO]
    return [name.strip() for name in embedder.split(",")]


def asked_revisions(recipe: Recipe) -> Mapping[str, str]:
    """Which revision of each of a recipe's hub models is asked for.

    Returns:
        Words such as "NAME: main, not pinned" by the recipe's key; folders, files and bundled models are
        left out.
    """
    named = {
        "base.model": [recipe.base.model],
        "base.vae": [recipe.base.vae or ""],
        "caption.model": [recipe.caption.model],
        "compare.embedder": embedder_names(recipe.compare.embedder, recipe.base.model),
    }
    told = {}
    for key, names in named.items():
        of_all = recipe.base.revision if key == "base.model" else None
        words = [_words(name, of_all) for name in names]
        if any(words):
            told[key] = "; ".join(filter(None, words))
    return told


def _words(name: str, of_all: str | None) -> str:
    bare, own = split_revision(name)
    if name in OWN or Path(name).exists() or not _NAME.fullmatch(bare):
        return ""
    revision = own or of_all
    if revision is None:
        return f"{bare}: main, not pinned"
    is_commit = _COMMIT.fullmatch(revision) is not None
    return f"{bare}: {'commit' if is_commit else 'what is now called'} {revision}"
