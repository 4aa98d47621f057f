"""What a comparison has to go by: pairs of pictures as rows of numbers, beside what they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from veneer.events import OnEvent, Progress, ignore
from veneer.intervals import Array
from veneer.models.embedder import Embedders
from veneer.proof.copies import MIN_TRAINING_PICTURES
from veneer.proof.facts import Losses
from veneer.proof.layout import Layouts, layouts
from veneer.proof.pairs import Pair, View, view_pairs
from veneer.proof.texture import TextureView, texture_view
from veneer.records.prompts import Kind

STAGE = "compare"
TEXTURES_KNOWN = 64
"""Most training pictures whose texture is looked at, to know how much pictures of the style differ."""
PictureLosses = tuple[tuple[float, ...], tuple[float, ...]]
"""Held-out loss of base and of chosen checkpoint on each held-out picture."""


@dataclass(frozen=True)
class References:
    """What pictures are held against.

    Attributes:
        held_out: Pictures of the style that training never saw.
        training: Pictures that training saw.
        captions: Caption of each training picture.
        held_out_captions: Caption of each held-out picture.
        losses: Held-out loss over the run.
        picture_losses: Held-out loss of base and of chosen checkpoint on each held-out picture.
        native_px: Side that the base was trained on.
        has_two_passes: Whether pictures were composed at the base's own size first.
    """

    held_out: tuple[Path, ...] = ()
    training: tuple[Path, ...] = ()
    captions: tuple[str, ...] = ()
    held_out_captions: tuple[str, ...] = ()
    losses: Losses | None = None
    picture_losses: PictureLosses | None = None
    native_px: int | None = None
    side_px: int | None = None
    has_two_passes: bool = False


@dataclass(frozen=True)
class Evidence:
    """All that a measure may look at; rows of every view are the pairs.

    Attributes:
        pairs: The pictures themselves, as files, with prompt, seed and where each prompt comes from.
        pictures: The pairs through CLIP, or through DINO where no CLIP is named.
        second: Through DINO, where both are named.
        layouts: Likeness to each training picture; None where too few of these are known.
        texture: Texture statistics of the pairs; None without held-out pictures.
        known_texts: Features of every prompt of the set, (P, D), styled or not; None where no text is read.
        own_text: Which of them is each pair's own.
        losses: Held-out losses by picture.
    """

    pairs: tuple[Pair, ...]
    pictures: View
    second: View | None
    texture: TextureView | None
    known_texts: Array | None
    own_text: tuple[int, ...]
    layouts: Layouts | None = None
    losses: PictureLosses | None = None

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Prompt of each pair."""
        return tuple(pair.prompt for pair in self.pairs)

    @cached_property
    def seeds(self) -> tuple[int | None, ...]:
        """Seed of each pair; None where unknown."""
        return tuple(pair.seed for pair in self.pairs)

    def of_kinds(self, *kinds: Kind) -> Evidence:
        """Only the pairs whose prompts are of some kinds."""
        rows = [row for row, pair in enumerate(self.pairs) if pair.kind in kinds]
        return replace(
            self,
            pairs=tuple(self.pairs[row] for row in rows),
            pictures=self.pictures.cut(rows),
            second=self.second and self.second.cut(rows),
            texture=self.texture and self.texture.cut(rows),
            layouts=self.layouts and self.layouts.cut(rows),
            own_text=tuple(self.own_text[row] for row in rows),
        )


def look(
    pairs: Sequence[Pair], references: References, embedders: Embedders, on_event: OnEvent = ignore
) -> Evidence:
    """See every picture through every embedder, once.

    Args:
        pairs: The pairs, at least one.
        references: What they are held against.
        embedders: The models.

    Returns:
        All pairs, of every kind of prompt.
    """
    views = {}
    for embedder in (embedders.clip, embedders.dino):
        if embedder is not None:
            views[embedder.name] = view_pairs(embedder, pairs, references.held_out, references.training)
            on_event(Progress(STAGE, len(views), embedder.name))
    dino = embedders.dino if embedders.clip else None
    losses, by_picture = references.losses, references.picture_losses
    if by_picture is None and losses is not None:
        by_picture = ((losses.base,), (losses.chosen,))
    return evidence_of(
        pairs,
        views[embedders.pictures.name],
        second=views[dino.name] if dino else None,
        texture=texture_view(pairs, references.held_out, references.training[:TEXTURES_KNOWN])
        if references.held_out
        else None,
        laid_out=layouts(pairs, references.training, references.held_out)
        if len(references.training) >= MIN_TRAINING_PICTURES
        else None,
        losses=by_picture,
    )


def evidence_of(
    pairs: Sequence[Pair],
    pictures: View,
    *,
    second: View | None = None,
    texture: TextureView | None = None,
    laid_out: Layouts | None = None,
    losses: PictureLosses | None = None,
) -> Evidence:
    """Put views of the same pairs together."""
    prompts = [pair.prompt for pair in pairs]
    known = list(dict.fromkeys(prompts))
    first = [prompts.index(text) for text in known]
    return Evidence(
        pairs=tuple(pairs),
        pictures=pictures,
        second=second,
        texture=texture,
        known_texts=None if pictures.texts is None else np.asarray(pictures.texts)[first],
        own_text=tuple(known.index(text) for text in prompts),
        layouts=laid_out,
        losses=losses,
    )
