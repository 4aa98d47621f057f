"""How often a data set's tags come, where its captions are lists of tags as booru sites have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from veneer.text import counted, tags_of

FEWEST, TAG_WORDS = 4, 3
"""A caption is a list of tags from so many parts on, of so many words each in the middle."""
MOST_TAGS = 20


def is_tag_list(caption: str) -> bool:
    """Whether a caption is a list of tags rather than a sentence."""
    lengths = sorted(len(tag.split()) for tag in tags_of(caption))
    return len(lengths) >= FEWEST and lengths[len(lengths) // 2] <= TAG_WORDS


def tag_note(captions: Sequence[str]) -> str:
    """One line of the tags and in how many captions each stands.

    Args:
        captions: Of all pictures that have one.

    Returns:
        The line, the most frequent first; empty where fewer than half of the captions are lists of tags.
    """
    lists = [set(tags_of(caption)) for caption in captions if is_tag_list(caption)]
    if not lists or 2 * len(lists) < len(captions):
        return ""
    counts = Counter(tag for one in lists for tag in one)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{tag} {count}" for tag, count in ranked[:MOST_TAGS])
    once = sum(count == 1 for count in counts.values())
    rest = f" and {len(ranked) - MOST_TAGS} more" if len(ranked) > MOST_TAGS else ""
    return f"Tags of {counted(len(lists), 'caption')}: {shown}{rest}; {once} of {len(ranked)} only once."
