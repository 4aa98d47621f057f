"""The target beside the result: the true picture of every held-out caption, the base's and the tuned one.

Where the true picture's own caption is not the nearest of all, the caption is wrong, or the embedder is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from veneer.intervals import Array
from veneer.proof.evidence import Evidence


@dataclass(frozen=True)
class Target:
    """A held-out caption, drawn by both models.

    Attributes:
        held_out: Index of the true picture.
        pair: Index of the first pair that was drawn for the caption.
        ranks: Place of the caption among all prompts, 1 the nearest, for the true, the base's and the tuned
            picture; None where no text is read.
        similarity: Cosine similarity of the base's and of the tuned picture to the true one.
    """

    caption: str
    held_out: int
    pair: int
    ranks: tuple[int, int, int] | None
    similarity: tuple[float, float]


def find_targets(seen: Evidence, captions: Sequence[str]) -> tuple[Target, ...]:
    """Put true, base's and tuned picture of every held-out caption together.

    Args:
        seen: All pairs.
        captions: Caption of each held-out picture; of equal ones the first picture counts.

    Returns:
        One target for each caption that was drawn, in the order of the captions.
    """
    if len(captions) != len(seen.pictures.held_out):
        return ()
    drawn = [text for text in dict.fromkeys(captions) if text in seen.prompts]
    return tuple(_target(seen, text, captions.index(text), seen.prompts.index(text)) for text in drawn)


def _target(seen: Evidence, caption: str, held_out: int, pair: int) -> Target:
    view = seen.pictures
    true, base, tuned = view.held_out[held_out], view.base[pair], view.tuned[pair]
    known, own = seen.known_texts, seen.own_text[pair]
    ranks = (
        None
        if known is None
        else (_rank(true, known, own), _rank(base, known, own), _rank(tuned, known, own))
    )
    return Target(caption, held_out, pair, ranks, (float(base @ true), float(tuned @ true)))


def _rank(picture: Array, texts: Array, own: int) -> int:
    likeness = texts @ picture
    return 1 + int((likeness > likeness[own]).sum())
