"""Several captions of a picture: all are trained, one drawn each time; one caption is what it always was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.encoding.split import Picture
from veneer.encoding.wordings import wordings
from veneer.recipe import resolve
from veneer.records.dataset import Item


def picture(split: Any = "train", **item: Any) -> Picture:
    return Picture(Path("a.png"), Item("images/a.png", **item), split, "0", (64, 64), (0, 0))


def recipe(**tables: Any) -> Recipe:
    return resolve({"base": {"model": "pocket"}, **tables})


def test_one_caption_is_trained_as_it_is() -> None:
    assert wordings(picture(caption="a house"), recipe()) == ()
    assert wordings(picture(caption="a house", others=("a house",)), recipe()) == ()
    assert wordings(picture(caption="a house", extra={"other_captions": ""}), recipe()) == ()


def test_all_captions_are_trained_wherever_they_are_kept() -> None:
    columns: list[dict[str, Any]] = [{"other_captions": one} for one in (["a hut"], '["a hut"]')]
    kept = [picture(caption="a house", extra=column) for column in columns]
    for one in (picture(caption="a house", others=("a hut",)), *kept):
        assert wordings(one, recipe()) == ("a house", "a hut")


def test_further_captions_have_trigger_and_form_of_the_first() -> None:
    one = picture(caption="vnr, red dot", others=("blue_dot", "vnr, red dot", "rating:safe, vnr"))
    tables = {"caption": {"trigger": "vnr"}, "encode": {"tag_underscores": "spaces", "tag_ratings": "drop"}}
    assert wordings(one, recipe(**tables)) == ("vnr, red dot", "vnr, blue dot", "vnr, vnr")


def test_a_held_out_picture_has_its_first_caption_and_a_prior_one_no_trigger() -> None:
    several = {"caption": "a house", "others": ("a hut",)}
    assert wordings(picture("held_out", **several), recipe(caption={"trigger": "vnr"})) == ()
    assert wordings(picture("prior", **several), recipe(caption={"trigger": "vnr"})) == ("a house", "a hut")


def test_each_caption_has_its_own_orders_of_tags() -> None:
    settings = recipe(encode={"tag_variants": 3})
    alone = wordings(picture(caption="a, b, c, d"), settings)
    both = wordings(picture(caption="a, b, c, d", others=("a, b, c, e",)), settings)
    assert len(both) == 6 and both[:3] == alone
    assert [one.replace("e", "d") for one in both[3:]] != list(alone)
