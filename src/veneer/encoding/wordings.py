"""What a picture is trained with where that is more than one text: further captions, orders of its tags."""

from __future__ import annotations

from dataclasses import replace

from veneer.config import Recipe
from veneer.encoding.split import Picture
from veneer.encoding.tags import in_form, tag_orders
from veneer.text import with_trigger


def wordings(picture: Picture, recipe: Recipe) -> tuple[str, ...]:
    """All captions that training draws from for a picture.

    Returns:
        Captions; none of a picture that is held out, and where its one caption is trained as it is.
    """
    if picture.split == "held_out":
        return ()
    encode, captions = recipe.encode, _captions(picture, recipe)
    orders = [
        order
        for place, caption in enumerate(captions)
        for order in tag_orders(
            replace(picture, item=replace(picture.item, caption=caption)), encode, recipe.train.seed, place
        )
    ]
    return tuple(orders) or (captions if len(captions) > 1 else ())


def _captions(picture: Picture, recipe: Recipe) -> tuple[str, ...]:
    """A picture's captions, with trigger and in form as its first one is."""
    first, *others = picture.item.captions
    if picture.split == "train":
        others = [in_form(with_trigger(one, recipe.caption.trigger), recipe.encode) for one in others]
    return tuple(dict.fromkeys((first, *others)))
