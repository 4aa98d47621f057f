"""What is varied, as a user writes it."""

import pytest

from veneer.errors import RecipeError
from veneer.trials.axes import Axis, combinations, read_axes


def test_every_combination_the_last_key_changing_fastest() -> None:
    axes = read_axes(["train.learning_rate=1e-4,3e-4", "lora.rank=4, 16"])
    assert combinations(axes) == [
        {"train.learning_rate": "1e-4", "lora.rank": "4"},
        {"train.learning_rate": "1e-4", "lora.rank": "16"},
        {"train.learning_rate": "3e-4", "lora.rank": "4"},
        {"train.learning_rate": "3e-4", "lora.rank": "16"},
    ]


def test_a_comma_in_a_list_or_a_text_parts_nothing() -> None:
    (axis,) = read_axes(["compare.scales=[0.6, 0.8],[1.0]"])
    assert axis.values == ("[0.6, 0.8]", "[1.0]")
    (axis,) = read_axes(["caption.prefix='a, b',c"])
    assert axis.values == ("'a, b'", "c")


def test_a_value_that_comes_twice_is_tried_once() -> None:
    assert read_axes(["lora.rank=4,4,8"])[0].values == ("4", "8")


def test_a_range_is_searched_by_factors_where_it_is_wide() -> None:
    rate, rank = read_axes(["train.learning_rate=1e-5..1e-3", "lora.rank=2..8"])
    assert rate == Axis("train.learning_rate", (), 1e-5, 1e-3)
    assert rate.is_logarithmic and not rank.is_logarithmic
    assert rank.is_whole and not rate.is_whole


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "nothing is varied"),
        (["lora.rank"], "not something to vary"),
        (["lora.rank="], "not something to vary"),
        (["rank=4"], "not something to vary"),
        (["lora.rnk=4"], "unknown key `lora.rnk`"),
        (["lora.rank=4", "lora.rank=8"], "named twice"),
        (["generate.seeds=[1],[2]"], "measured by this key"),
        (["compare.embedder=pocket,auto"], "measured by this key"),
        (["lora.rank=8..4"], "not a range of numbers"),
        (["lora.rank=a..b"], "not a range of numbers"),
        (["lora.rank=1.." + "9" * 400], "not a range of numbers"),  # too large for a float
        (["lora.rank=" + "-" + "9" * 400 + "..1"], "not a range of numbers"),
        (["train.learning_rate=1e-5..inf"], "not a range of numbers"),
        (["train.learning_rate=-inf..1e-5"], "not a range of numbers"),
        (["train.learning_rate=nan..1"], "not a range of numbers"),
    ],
)
def test_what_cannot_be_varied_is_told(texts: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        read_axes(texts)


def test_a_range_needs_a_search() -> None:
    with pytest.raises(RecipeError, match="--search"):
        combinations(read_axes(["lora.rank=2..8"]))


def test_more_combinations_than_anybody_waits_for_are_refused() -> None:
    values = ",".join(str(number) for number in range(1, 200))
    axes = read_axes(
        [f"{key}={values}" for key in ("lora.rank", "train.seed", "train.max_train_steps", "base.vae")]
    )
    with pytest.raises(RecipeError, match=r"1568239201 trials.*--search"):
        combinations(axes)
