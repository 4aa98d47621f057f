"""Captions that are lists of tags, as booru sites have them: put in form, shuffled and thinned out.

A caption's ways of being written are drawn once, by the seed and the picture's name, and encoded each;
training takes one of them at each step. Held-out pictures keep theirs as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from veneer.config import EncodeTable
from veneer.encoding.split import Picture
from veneer.seeds import numpy_generator
from veneer.text import spaced_tag, tags_of

RATINGS = frozenset({"general", "safe", "sensitive", "questionable", "explicit", "nsfw", "sfw"})
"""What sites rate a picture as; "rating:" may come before it."""


def in_form(caption: str, encode: EncodeTable) -> str:
    """A caption with its tags as the recipe wants them written, in their order.

    The first ones, which keep their place, stay to the letter: a trigger is called as it is written.
    """
    if not (encode.tag_underscores or encode.tag_ratings):
        return caption
    tags = tags_of(caption)
    first = tags[: encode.tag_keep or 0]
    rest = [tag for tag in tags[len(first) :] if not (encode.tag_ratings == "drop" and is_rating(tag))]
    return ", ".join(
        [*first, *(spaced_tag(tag) if encode.tag_underscores == "spaces" else tag for tag in rest)]
    )


def is_rating(tag: str) -> bool:
    """Whether a tag rates the picture."""
    return re.sub(r"^rating[:_ ]\s*", "", tag.lower()) in RATINGS


def in_forms(pictures: Sequence[Picture], encode: EncodeTable) -> list[Picture]:
    """Pictures with their captions in form; prior ones as they are."""
    return [
        one
        if one.split == "prior"
        else replace(one, item=replace(one.item, caption=in_form(one.item.caption, encode)))
        for one in pictures
    ]


def tag_orders(picture: Picture, encode: EncodeTable, seed: int, place: int = 0) -> tuple[str, ...]:
    """The ways in which a picture's caption is trained: its tags shuffled, and some left out.

    Args:
        place: Of several captions of a picture, which this is.

    Returns:
        Captions, as many as the recipe says; none of a picture that is not trained on, and where captions
        are not shuffled.
    """
    if encode.tag_variants is None or picture.split != "train":
        return ()
    tags = tags_of(picture.item.caption)
    first = tags[: encode.tag_keep or 0]
    rest = tags[len(first) :]
    found = []
    for number in range(place * encode.tag_variants, (place + 1) * encode.tag_variants):
        draw = numpy_generator(seed, "tags", step=number, item=picture.item.file_name)
        order = draw.permutation(len(rest))
        stays = draw.random(len(rest)) >= (encode.tag_dropout or 0.0)
        found.append(", ".join([*first, *(rest[k] for k in order if stays[k])]))
    return tuple(found)
