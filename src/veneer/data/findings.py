"""Which pictures of a data set are suspicious: measures against limits, and pictures against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from veneer.data.inspection import Inspected
from veneer.data.phash import near_pairs

_Array = NDArray[np.floating[Any]]

Flag = Literal[
    "broken",
    "exact-duplicate",
    "near-duplicate",
    "blank",
    "low-information",
    "blurry",
    "small",
    "odd-aspect",
    "dark",
    "light",
    "watermark",
    "text",
    "far-from-query",
    "unsafe",
    "by-hand",
]
FLAGS: tuple[Flag, ...] = get_args(Flag)

REMOVED: frozenset[Flag] = frozenset(
    {"broken", "exact-duplicate", "near-duplicate", "blank", "blurry", "unsafe"}
)
"""What ``--apply`` moves away unless told otherwise; the others are matters of taste."""

MEANINGS: Mapping[Flag, str] = {
    "broken": "cannot be decoded to its end",
    "exact-duplicate": "the same bytes as another picture",
    "near-duplicate": "looks like another picture, resized or saved again",
    "blank": "almost one colour",
    "low-information": "very few tones",
    "blurry": "out of focus, or enlarged from a small picture",
    "small": "smaller than the training resolution: trained at a smaller size, or enlarged",
    "odd-aspect": "more than three times as long as wide",
    "dark": "nearly black throughout",
    "light": "nearly white throughout",
    "watermark": "likely writing at the upper or lower edge",
    "text": "likely writing",
    "far-from-query": "fits what was searched for worse than the others",
    "unsafe": "judged unsafe by the installed checker",
    "by-hand": "left out by a person",
}

SPOILING: frozenset[Flag] = frozenset({"blank", "blurry", "watermark", "text"})
"""What makes a picture the worse one of two copies."""

BLANK_BITS = 0.3
LOW_INFORMATION_BITS = 0.75
"""Flat emoji on white lie above 0.8; CleanVision's own limit would flag most of them."""

REBLUR_LIMIT = 0.72
"""Flat illustrations lie below 0.3, photographs below 0.6; a Gaussian blur of 3 pixels at 512 gives 0.8, and
saving that as JPEG 0.75."""

SHARPNESS_LIMIT = 0.29
DARK_LIMIT, LIGHT_LIMIT = 0.32, 0.95
ASPECT_LIMIT = 0.35
"""These four are CleanVision's own limits."""

BLOCK = 1024
"""Pictures compared with as many others at a time."""

SAME_COLOURS = 12.0
"""Mean difference of 8-bit colours below which two pictures of the same shapes are copies."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with one picture.

    Attributes:
        file_name: The picture.
        flag: What it is.
        reason: The same with numbers, for people.
        other: The picture that it is a copy of; empty for other flags.
    """

    file_name: str
    flag: Flag
    reason: str
    other: str = ""


def own_findings(name: str, seen: Inspected, resolution: int) -> list[Finding]:
    """Hold one picture's measures against the limits.

    Args:
        name: Its file name.
        resolution: Training resolution in pixels.

    Returns:
        What is wrong with it.
    """
    found = [_low_detail(seen), _size(seen, resolution), _aspect(seen), _brightness(seen), _writing(seen)]
    return [Finding(name, flag, reason) for entry in found if entry is not None for flag, reason in [entry]]


def copy_findings(
    names: Sequence[str], seen: Sequence[Inspected], spoilt: Collection[str] = ()
) -> list[Finding]:
    """Find copies; of each group the largest picture stays, and of equals the first.

    Args:
        names: File names.
        seen: Their measures, in the same order.
        spoilt: Pictures with a blur or writing: they stay only where all copies have it.

    Returns:
        A finding for each picture but the one that stays.
    """
    copies: dict[int, list[tuple[int, str, Flag]]] = defaultdict(list)
    # all blank pictures have one hash, and are flagged for that
    telling = [index for index, one in enumerate(seen) if not _is_blank(one)]
    for earlier, later, bits in near_pairs([seen[index].phash for index in telling]):
        first, second = telling[earlier], telling[later]
        if seen[first].sha256 == seen[second].sha256:
            reason, flag = "the same bytes as {}, which stays", "exact-duplicate"
        elif colour_difference(seen[first], seen[second]) < SAME_COLOURS:
            reason, flag = f"looks like {{}}, which stays ({bits} of 64 bits differ)", "near-duplicate"
        else:
            continue
        copies[first].append((second, reason, flag))  # type: ignore[arg-type]
        copies[second].append((first, reason, flag))  # type: ignore[arg-type]
    return _all_but_best(names, seen, copies, spoilt)


def embedding_findings(
    names: Sequence[str],
    seen: Sequence[Inspected],
    features: _Array,
    limit: float,
    spoilt: Collection[str] = (),
) -> list[Finding]:
    """Find copies by what an embedder sees, such as crops of each other.

    Nearly black, white or empty pictures are left out: all of them look alike to it.

    Args:
        names: File names, N.
        seen: Their measures.
        features: Rows of unit length, shape (N, D).
        limit: Cosine similarity from which on two pictures are copies.
        spoilt: Pictures with a blur or writing.

    Returns:
        A finding for each picture but the one that stays.
    """
    telling = [index for index, one in enumerate(seen) if not _says_little(one)]
    copies: dict[int, list[tuple[int, str, Flag]]] = defaultdict(list)
    for first, second, similarity in _like_pairs(features[telling], limit):
        earlier, later = telling[first], telling[second]
        reason = f"looks like {{}}, which stays (similarity {similarity:.3f})"
        copies[later].append((earlier, reason, "near-duplicate"))
        copies[earlier].append((later, reason, "near-duplicate"))
    return _all_but_best(names, seen, copies, spoilt)


def low_scores(scores: Sequence[float]) -> list[int]:
    """Find scores far below the others: more than three robust deviations under the median.

    Args:
        scores: Scores of all pictures; with fewer than 8 none is called low.

    Returns:
        Indices of the low ones.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 8:
        return []
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return [int(index) for index in np.flatnonzero(values < median - 3 * max(deviation, 1e-6))]


def colour_difference(first: Inspected, second: Inspected) -> float:
    """Compare the coarse colours of two pictures.

    Args:
        second: Another.

    Returns:
        Mean difference over fields and channels, 0 to 255.
    """
    one = np.frombuffer(first.colours, dtype=np.uint8).astype(np.float32)
    other = np.frombuffer(second.colours, dtype=np.uint8).astype(np.float32)
    return float(np.abs(one - other).mean())


def upscaling(seen: Inspected, resolution: int) -> float:
    """How much a picture has to be enlarged for a square of the training resolution.

    Args:
        resolution: Training resolution in pixels.

    Returns:
        Factor on each side; 1 or less where it is large enough.
    """
    return resolution / min(seen.width, seen.height)


def _all_but_best(
    names: Sequence[str],
    seen: Sequence[Inspected],
    copies: Mapping[int, Sequence[tuple[int, str, Flag]]],
    spoilt: Collection[str],
) -> list[Finding]:
    def rank(index: int) -> tuple[bool, int, int, int]:
        one = seen[index]
        return names[index] in spoilt, -one.width * one.height, one.letters, index

    order = sorted(copies, key=rank)
    kept: set[int] = set()
    found = []
    for index in order:
        match = min(
            ((other, reason, flag) for other, reason, flag in copies[index] if other in kept), default=None
        )
        if match is None:
            kept.add(index)
        else:
            other, reason, flag = match
            found.append(Finding(names[index], flag, reason.format(names[other]), names[other]))
    return sorted(found, key=lambda finding: finding.file_name)


def _like_pairs(features: _Array, limit: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose cosine similarity reaches a limit; compared block by block, which saves memory."""
    for start in range(0, len(features), BLOCK):
        for other in range(0, start + BLOCK, BLOCK):
            similarity = features[other : other + BLOCK] @ features[start : start + BLOCK].T
            for row, column in np.argwhere(similarity >= limit).tolist():
                if other + row < start + column:
                    yield other + row, start + column, float(similarity[row, column])


def _is_blank(seen: Inspected) -> bool:
    return seen.entropy < BLANK_BITS


def _says_little(seen: Inspected) -> bool:
    return seen.entropy < LOW_INFORMATION_BITS or seen.dark < DARK_LIMIT or seen.light > LIGHT_LIMIT


def _low_detail(seen: Inspected) -> tuple[Flag, str] | None:
    if _is_blank(seen):
        return "blank", f"almost one colour ({seen.entropy:.1f} bits of tones)"
    if seen.blur > REBLUR_LIMIT or seen.sharpness < SHARPNESS_LIMIT:
        return "blurry", f"hardly changes when blurred again ({seen.blur:.2f}; sharp pictures stay below 0.6)"
    if seen.entropy < LOW_INFORMATION_BITS:
        return "low-information", f"very few tones ({seen.entropy:.1f} bits)"
    return None


def _size(seen: Inspected, resolution: int) -> tuple[Flag, str] | None:
    factor = upscaling(seen, resolution)
    if factor <= 1:
        return None
    invented = 100 * (1 - 1 / factor**2)
    return "small", (
        f"{seen.width} x {seen.height} px, below {resolution} px: enlarged {factor:.3g} times, "
        f"{invented:.0f} % of its pixels would be made up"
    )


def _aspect(seen: Inspected) -> tuple[Flag, str] | None:
    ratio = max(seen.width, seen.height) / min(seen.width, seen.height)
    if 1 / ratio >= ASPECT_LIMIT:
        return None
    return (
        "odd-aspect",
        f"{seen.width} x {seen.height} px: a square crop loses {100 * (1 - 1 / ratio):.0f} % of its pixels",
    )


def _brightness(seen: Inspected) -> tuple[Flag, str] | None:
    if seen.dark < DARK_LIMIT:
        return "dark", f"99 % of the pixels are darker than {100 * seen.dark:.0f} % of white"
    if seen.light > LIGHT_LIMIT:
        return "light", f"95 % of the pixels are lighter than {100 * seen.light:.0f} % of white"
    return None


def _writing(seen: Inspected) -> tuple[Flag, str] | None:
    if seen.letters == 0:
        return None
    if seen.letters_at_edge:
        return "watermark", f"a row of {seen.letters} marks like letters near the upper or lower edge"
    return "text", f"a row of {seen.letters} marks like letters"
