"""Tag captions: put in form, shuffled behind what keeps its place, thinned out, equal for a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from veneer.config import EncodeTable
from veneer.encoding.split import Picture
from veneer.encoding.tags import in_form, in_forms, is_rating, tag_orders
from veneer.records.dataset import Item
from veneer.text import tags_of

CAPTION = "my_style, 1girl, long_hair, ^_^, rating:safe, looking_at_viewer"


def picture(caption: str = CAPTION, split: Any = "train", name: str = "images/a.png") -> Picture:
    return Picture(Path(name), Item(name, caption), split, "0", (64, 64), (0, 0))


def test_underscores_become_spaces_but_not_in_faces() -> None:
    spaced = in_form(CAPTION, EncodeTable(tag_underscores="spaces"))
    assert spaced == "my style, 1girl, long hair, ^_^, rating:safe, looking at viewer"
    kept = in_form(CAPTION, EncodeTable(tag_underscores="spaces", tag_keep=1))
    assert kept.startswith("my_style, 1girl, long hair")
    assert in_form("o_o, >_<, 3_3", EncodeTable(tag_underscores="spaces")) == "o_o, >_<, 3_3"


def test_ratings_are_left_out() -> None:
    assert tags_of(in_form(CAPTION, EncodeTable(tag_ratings="drop"))) == [
        "my_style", "1girl", "long_hair", "^_^", "looking_at_viewer",
    ]  # fmt: skip
    assert is_rating("rating_explicit") and is_rating("General") and not is_rating("safety_vest")


def test_a_sentence_stays_to_the_letter() -> None:
    text = "A city,  seen from above , at night_time"
    assert in_form(text, EncodeTable()) == text
    assert tag_orders(picture(text), EncodeTable(), 0) == ()


def test_orders_keep_the_first_and_all_the_others() -> None:
    orders = tag_orders(picture(), EncodeTable(tag_variants=8, tag_keep=2), 0)
    assert len(orders) == 8 and len(set(orders)) > 4
    for order in orders:
        assert tags_of(order)[:2] == ["my_style", "1girl"]
        assert Counter(tags_of(order)) == Counter(tags_of(CAPTION))
    assert tag_orders(picture(), EncodeTable(tag_variants=8, tag_keep=2), 0) == orders
    assert tag_orders(picture(name="images/b.png"), EncodeTable(tag_variants=8, tag_keep=2), 0) != orders


def test_dropout_leaves_out_its_share_and_never_the_first() -> None:
    many = ", ".join(f"tag{number}" for number in range(50))
    orders = tag_orders(picture(many), EncodeTable(tag_variants=32, tag_keep=1, tag_dropout=0.2), 0)
    kept = [len(tags_of(order)) - 1 for order in orders]
    assert sum(kept) / (32 * 49) == pytest.approx(0.8, abs=0.03)
    assert all(order.startswith("tag0") for order in orders)


def test_held_out_and_prior_pictures_keep_their_order() -> None:
    table = EncodeTable(tag_variants=4, tag_ratings="drop")
    assert tag_orders(picture(split="held_out"), table, 0) == ()
    held_out, prior = in_forms([picture(split="held_out"), picture(split="prior")], table)
    assert "rating" not in held_out.item.caption and prior.item.caption == CAPTION
