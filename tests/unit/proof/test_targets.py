"""The target beside the result: which pictures belong together, and a wrong caption is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.features import rows
from veneer.proof.evidence import Evidence, evidence_of
from veneer.proof.pairs import Pair, View
from veneer.proof.targets import find_targets

CAPTIONS = ("a cat", "a dog", "a house")


def evidence(true: np.ndarray) -> Evidence:
    """Two seeds of three captions, pictures that are their captions, and one general prompt before them."""
    texts = np.eye(4)
    own = [3, 0, 0, 1, 1, 2, 2]
    names = [("a cup", "general"), *((text, "held_out") for text in CAPTIONS for _ in range(2))]
    pairs = [Pair(text, kind, n, Path(), Path()) for n, (text, kind) in enumerate(names)]  # type: ignore[arg-type]
    base = rows(1, n=7, d=4)
    return evidence_of(pairs, View(base, texts[own], texts[own], true, true[:0]))


def test_each_caption_has_its_true_picture_and_its_first_pair() -> None:
    found = find_targets(evidence(np.eye(4)[:3]), CAPTIONS)
    assert [(one.caption, one.held_out, one.pair) for one in found] == [
        ("a cat", 0, 1),
        ("a dog", 1, 3),
        ("a house", 2, 5),
    ]
    assert all(one.ranks and one.ranks[0] == one.ranks[2] == 1 for one in found)
    assert all(one.similarity[1] == 1 for one in found)


def test_a_wrong_caption_shows_at_the_true_picture() -> None:
    found = find_targets(evidence(np.eye(4)[[1, 0, 2]]), CAPTIONS)
    assert [one.ranks and one.ranks[0] > 1 for one in found] == [True, True, False]


def test_captions_that_were_not_drawn_and_unknown_ones_are_left_out() -> None:
    assert [one.caption for one in find_targets(evidence(np.eye(4)[:3]), ("a cat", "a bee", "a cat"))] == [
        "a cat"
    ]
    assert find_targets(evidence(np.eye(4)[:3]), ()) == ()
