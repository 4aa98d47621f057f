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
PINNED: Mapping[str, str] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "stabilityai/sd-vae-ft-mse": "31f26fdeee1355a5c34592e401dd41e45d25a493",
    "stabilityai/stable-diffusion-xl-base-1.0": "462165984030d82259a11f4367a4eed129e94a7b",
    "black-forest-labs/FLUX.2-klein-base-4B": "a3b4f4849157f664bdbc776fd7453c2783562f4d",
    "Salesforce/blip-image-captioning-large": "353689b859fcf0523410b1806dace5fb46ecdf41",
    CLIP: "32bd64288804d66eefd0ccbe215aa642df71cc41",
    DINO: "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
}
"""Commits of the models that recipes name without a revision; ``NAME@main`` asks for the newest instead."""
OWN = frozenset({"", "pocket", "none"})
"""Words that name no model of the hub by themselves."""

TAGGER_FILES = ("model.onnx", "selected_tags.csv")
"""What a tagger of booru tags consists of."""
_TAGGER = re.compile(r"(?:SmilingWolf/|(?:.*/)?wd-).*tagger.*", re.IGNORECASE)


def is_tagger(name: str) -> bool:
    """Whether a captioner's name is that of a tagger: a folder with a model of ONNX, or such a name."""
    folder = Path(name).expanduser()
    return (folder / TAGGER_FILES[0]).is_file() if folder.exists() else bool(_TAGGER.fullmatch(name))


def split_revision(name: str) -> tuple[str, str | None]:
    """Take a name apart; a path stays whole, whatever is in it.

    Returns:
        The name, and the revision: a commit, a tag or a branch; None where it names none.
    """
    bare, mark, revision = name.partition("@")
    is_both = bool(mark and _NAME.fullmatch(bare) and _REVISION.fullmatch(revision))
    return (bare, revision) if is_both and not Path(name).exists() else (name, None)


def revision_of(name: str, asked: str | None = None) -> str | None:
    """The revision that a model is loaded at: its name's own, the one asked for, or the pinned one.

    Args:
        asked: A revision named elsewhere, as by `base.revision`.

    Returns:
        A commit, a tag or a branch; None for what is now called main.
    """
    bare, own = split_revision(name)
    return own or asked or PINNED.get(bare)


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
    bare, _ = split_revision(name)
    if name in OWN or Path(name).exists() or not _NAME.fullmatch(bare):
        return ""
    revision = revision_of(name, of_all)
    if revision is None:
        return f"{bare}: main, not pinned"
    is_commit = _COMMIT.fullmatch(revision) is not None
    return f"{bare}: {'commit' if is_commit else 'what is now called'} {revision}"
