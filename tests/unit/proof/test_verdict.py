import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veneer.proof import doubts
from veneer.proof import verdict as verdict_module
from veneer.proof.facts import Facts, Losses
from veneer.proof.verdict import Verdict, judge
from veneer.stats import Better, Measure, paired

FACTS = Facts(num_prompts=16, num_held_out=8, num_pictures=20)


def rise(delta: float, spread: float = 0.01, n: int = 16, better: Better = "higher") -> Measure:
    random = np.random.default_rng(0)
    base = random.normal(0.5, 0.05, n)
    return paired(base, base + random.normal(delta, spread, n), range(n), better=better)


GOOD = {"style": rise(0.1), "prompt": rise(0.0)}


def codes(verdict: Verdict, *, deciding: bool = True) -> list[str]:
    return [reason.code for reason in verdict.reasons if reason.decides == deciding]


def test_style_up_and_prompt_held_is_better() -> None:
    verdict = judge(GOOD, FACTS)
    assert verdict.word == "better"
    assert codes(verdict) == ["style-rose", "prompt-kept"]
    assert verdict.headline == "Nearer to the style, as true to the prompt"


def test_a_style_that_one_view_hardly_saw_is_called_a_little_nearer() -> None:
    strong, weak = (dataclasses.replace(rise(0.1), ideal=ideal) for ideal in (0.6, 2.5))
    measures = {"style": strong, "style_texture": weak, "prompt": rise(0.0)}
    verdict = judge(measures, FACTS)
    assert (verdict.word, verdict.headline) == (
        "better",
        "A little nearer to the style, as true to the prompt",
    )
    assert verdict.todo.startswith("Raise compare.scale")
    trade = judge({**measures, "prompt": rise(-0.05)}, FACTS)
    assert trade.word == "trade" and trade.todo.startswith("Lower compare.scale")
    assert judge({**measures, "style_texture": strong}, FACTS).headline.startswith("Nearer")


def test_style_up_and_prompt_down_is_a_trade() -> None:
    verdict = judge({**GOOD, "prompt": rise(-0.05)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("trade", ["style-rose", "prompt-fell"])
    assert verdict.headline == "Nearer to the style, less true to the prompt"
    assert verdict.todo.startswith("Lower compare.scale")


def test_prompt_down_and_style_the_same_is_worse() -> None:
    verdict = judge({"style": rise(0.0), "prompt": rise(-0.05)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("worse", ["prompt-fell"])


def test_prompt_fallen_within_the_margin_is_allowed() -> None:
    assert judge({**GOOD, "prompt": rise(-0.05)}, FACTS, prompt_margin=0.1).word == "better"


@pytest.mark.parametrize(
    ("cost", "word", "is_counted"),
    [
        (0.04, "better", True),
        (0.01, "trade", True),
        (0.3, "better", True),
        (None, "trade", False),
        (-0.1, "trade", False),
    ],
)
def test_no_more_is_asked_than_true_pictures_of_the_style_have(
    cost: float | None, word: str, is_counted: bool
) -> None:
    facts = dataclasses.replace(FACTS, style_cost=cost, prompt_span=0.15)
    verdict = judge({**GOOD, "prompt": rise(-0.05)}, facts)
    assert verdict.word == word
    assert any("true pictures of the same captions" in one.text for one in verdict.reasons) == is_counted


@pytest.mark.parametrize(
    ("span", "word"), [(0.15, "trade"), (0.45, "better"), (None, "trade"), (0.0, "trade")]
)
def test_the_style_costs_a_third_of_a_prompt_at_most(span: float | None, word: str) -> None:
    """True pictures at 0.2 where the base's lie at 0.3 made a fall of 0.1 `better`."""
    dear = dataclasses.replace(FACTS, style_cost=0.4, prompt_span=span)
    assert judge({**GOOD, "prompt": rise(-0.1)}, dear).word == word


def test_unsure_prompt_is_not_shown() -> None:
    verdict = judge({**GOOD, "prompt": rise(-0.01, spread=0.1)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("not shown", ["prompt-unsure"])


def test_what_to_try_does_not_contradict_itself() -> None:
    losses = Losses(base=0.2, chosen=0.1, chosen_step=300, best=0.1, best_step=300, last=0.1, last_step=300)
    unsure = {"style": rise(0.0), "prompt": rise(-0.01, spread=0.1)}
    tried = {one.code: one.todo for one in judge(unsure, dataclasses.replace(FACTS, losses=losses)).reasons}
    assert tried["style-same"].startswith("Train longer")
    assert "fewer steps" not in tried["prompt-unsure"]
    shown = judge({**unsure, "style": rise(0.1)}, FACTS).reasons[0]
    assert shown.code == "prompt-unsure"
    assert re.fullmatch(r"Add prompts: about \d+ in all would tell, or train fewer steps", shown.todo)


def test_style_fallen_is_worse() -> None:
    assert codes(judge({**GOOD, "style": rise(-0.1)}, FACTS)) == ["style-fell"]


def test_subject_lost_is_worse() -> None:
    lost = rise(-0.5)
    verdict = judge({"style": rise(0.0), "prompt": rise(0.0), "retrieval": lost}, FACTS)
    assert (verdict.word, codes(verdict)) == ("worse", ["subject-lost"])
    assert judge({**GOOD, "retrieval": lost}, FACTS).word == "trade"


def test_a_difference_that_nobody_sees_is_none_however_sure() -> None:
    up, down = (rise(delta, spread=0.0001) for delta in (0.001, -0.001))
    assert up.rises and down.falls
    for style in (up, down):
        assert codes(judge({**GOOD, "style": style}, FACTS)) == ["style-same"]


def test_style_the_same_says_what_to_try() -> None:
    verdict = judge({**GOOD, "style": rise(0.0)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("not shown", ["style-same"])
    assert verdict.reasons[0].todo


def test_texture_alone_can_make_a_better() -> None:
    assert (
        judge({"style": rise(0.0), "style_texture": rise(0.1), "prompt": rise(0.0)}, FACTS).word == "better"
    )


def test_second_embedder_can_stop_a_better_and_a_worse() -> None:
    assert judge({**GOOD, "style_dino": rise(-0.1)}, FACTS).word == "not shown"
    assert judge({**GOOD, "style": rise(-0.1), "style_dino": rise(0.1)}, FACTS).word == "not shown"


@pytest.mark.parametrize(
    ("measures", "facts", "code"),
    [
        ({**GOOD, "style": None}, {}, "no-held-out-pictures"),
        ({**GOOD, "style": rise(0.1, n=2)}, {}, "too-few-prompts"),
        ({**GOOD, "prompt": None}, {}, "prompt-unknown"),
        (GOOD, {"num_identical": 20}, "adapter-changes-nothing"),
        (GOOD, {"caption_p_value": 0.4}, "captions-mismatch"),
        (GOOD, {"smoothness": 0.01}, "pictures-noise"),
        (GOOD, {"losses": Losses(0.1, 0.2, 900, 0.05, 100, 0.2, 900)}, "overfit"),
        (GOOD, {"losses": Losses(0.1, 0.2, 900, 0.15, 100, 0.2, 900)}, "diverged"),
    ],
)
def test_doubts_are_named_and_keep_it_from_being_better(
    measures: dict[str, Measure], facts: dict[str, Any], code: str
) -> None:
    verdict = judge(measures, dataclasses.replace(FACTS, **facts))
    assert verdict.word == "not shown"
    assert codes(verdict) == [code]
    assert verdict.reasons[0].todo


def test_cause_is_named_beside_a_worse() -> None:
    diverged = dataclasses.replace(FACTS, losses=Losses(0.05, 1.0, 60, 1.0, 60, 1.0, 60))
    verdict = judge({**GOOD, "prompt": rise(-0.2)}, diverged)
    assert (verdict.word, codes(verdict)) == ("trade", ["style-rose", "prompt-fell", "diverged"])


def test_one_broken_picture_may_be_chance() -> None:
    one = dataclasses.replace(FACTS, num_pictures=8, num_broken=1)
    assert "broken-pictures" not in codes(judge(GOOD, one))
    assert "broken-pictures" in codes(judge(GOOD, dataclasses.replace(one, num_broken=2)))


def test_broken_pictures_are_worse() -> None:
    assert codes(judge(GOOD, dataclasses.replace(FACTS, num_broken=5))) == ["broken-pictures"]


def counted(hits: int, n: int, better: Better, base: int = 0) -> Measure:
    """A share: how many of n prompts have it, of the base and of the tuned model."""
    return paired(
        [1.0] * base + [0.0] * (n - base), [1.0] * hits + [0.0] * (n - hits), range(n), better=better
    )


@pytest.mark.parametrize("copies", [2, 5, 19, 20])
def test_copies_are_a_doubt_also_where_every_picture_is_one(copies: int) -> None:
    verdict = judge({**GOOD, "memorisation": counted(copies, 20, "lower")}, FACTS)
    assert (verdict.word, codes(verdict)) == ("not shown", ["memorised"])


def test_no_copies_are_no_doubt() -> None:
    assert judge({**GOOD, "memorisation": counted(0, 20, "lower")}, FACTS).word == "better"


@pytest.mark.parametrize("n", [8, 14, 24])
@pytest.mark.parametrize("share", [0.125, 0.25, 0.5, 0.75, 1])
def test_subjects_lost_one_by_one_are_never_better(n: int, share: float) -> None:
    found = counted(n - max(1, round(share * n)), n, "higher", base=n)
    verdict = judge({**GOOD, "retrieval": found}, FACTS)
    assert verdict.word in {"not shown", "trade"}
    assert codes(verdict)[-1] in {"subject-unsure", "subject-lost"}


def test_all_subjects_found_as_before_is_better() -> None:
    assert judge({**GOOD, "retrieval": counted(14, 14, "higher", base=14)}, FACTS).word == "better"


@pytest.mark.parametrize(("kept", "is_doubt"), [(0.3, True), (0.36, False)])
def test_a_third_of_the_variety_must_surely_be_left(kept: float, is_doubt: bool) -> None:
    """The share decides where it is known, not the difference, which few prompts carry."""
    diversity = dataclasses.replace(rise(-0.4, spread=0.1), kept=kept)
    reasons = {reason.code: reason.text for reason in judge({**GOOD, "diversity": diversity}, FACTS).reasons}
    assert ("variety-unsure" in reasons) == is_doubt
    assert not is_doubt or "30 % of the base's left at least" in reasons["variety-unsure"]


def test_variety_must_be_shown_to_be_kept() -> None:
    few = judge({**GOOD, "diversity": rise(-0.4, spread=0.1)}, FACTS)
    assert (few.word, codes(few)) == ("not shown", ["variety-unsure"])
    none = paired([0.2] * 8, [0.0] * 8, range(8))
    assert "variety-unsure" in codes(judge({**GOOD, "diversity": none}, FACTS))


def test_a_held_out_loss_a_hair_higher_is_no_divergence() -> None:
    hair = dataclasses.replace(FACTS, losses=Losses(0.1, 0.10002, 900, 0.10002, 900, 0.10002, 900))
    assert judge(GOOD, hair).word == "better"
    losses = np.random.default_rng(0).uniform(0.05, 0.2, 8)
    unsure = paired(losses, losses * np.linspace(0.98, 1.025, 8), range(8), better="lower")
    assert judge({**GOOD, "validation_loss": unsure}, hair).word == "better"
    sure = paired(losses, losses * 1.2, range(8), better="lower")
    worse = dataclasses.replace(FACTS, losses=Losses(0.1, 0.12, 900, 0.12, 900, 0.12, 900))
    assert codes(judge({**GOOD, "validation_loss": sure}, worse)) == ["diverged"]


def test_one_prompt_with_five_seeds_carries_a_hint() -> None:
    random = np.random.default_rng(0)
    one = paired([0.5] * 5, 0.6 + random.normal(0, 0.005, 5), ["a cat"] * 5)
    kept = paired([0.5] * 5, 0.5 + random.normal(0, 0.002, 5), ["a cat"] * 5)
    verdict = judge({"style": one, "prompt": kept}, dataclasses.replace(FACTS, num_prompts=1))
    assert verdict.word == "better"
    assert codes(verdict, deciding=False) == ["few-prompts"]


SAID_OTHERWISE = {"style-rose", "prompt-kept", "adapter-changes-nothing"}
"""Reasons that decide and have a headline of their own."""


def named_in(module: str) -> set[str]:
    """Codes of the reasons that a module of the rules may give."""
    source = Path(verdict_module.__file__).with_name(f"{module}.py").read_text("utf-8")
    return set(re.findall(r'Reason\(\s*"([a-z-]+)"', source))


def test_every_reason_that_decides_has_words_for_the_headline() -> None:
    doubted = named_in("doubts")
    assert doubted | named_in("verdict") - SAID_OTHERWISE == set(verdict_module.FAULTS) | set(doubts.DOUBTS)


@pytest.mark.parametrize(
    ("measures", "facts", "code"),
    [
        ({}, {"side_px": 1024, "native_px": 512}, "resolution-above-base"),
        ({}, {"style_word_share": 0.1}, "no-style-word"),
        ({}, {"losses": Losses(0.2, 0.1, 100, 0.1, 100, 0.15, 900)}, "overfit-later"),
        ({"general_prompt": rise(-0.1)}, {}, "forgets"),
        ({"diversity": rise(-0.3)}, {}, "less-varied"),
        ({}, {"num_held_out": 2}, "few-held-out"),
    ],
)
def test_notes_do_not_decide(measures: dict[str, Any], facts: dict[str, Any], code: str) -> None:
    verdict = judge(GOOD | measures, dataclasses.replace(FACTS, **facts))
    assert verdict.word == "better"
    assert codes(verdict, deciding=False) == [code]


def test_base_against_base_is_not_shown() -> None:
    words = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        before, after = random.normal(0.6, 0.05, (2, 10))
        prompt = random.normal(0.3, 0.03, (2, 10))
        measures = {
            "style": paired(before, after, range(10)),
            "prompt": paired(prompt[0], prompt[1], range(10)),
        }
        words.append(judge(measures, FACTS).word)
    assert words.count("not shown") >= 95


def test_one_prompt_and_one_seed_is_said_in_words() -> None:
    one = Measure(
        0.5, 0.7, 0.2, None, None, 1, 1.0, "higher", note="interval not available: 1 of the 5 units"
    )
    verdict = judge({"style": one, "prompt": one}, dataclasses.replace(FACTS, num_prompts=1, num_pictures=1))
    assert verdict.word == "not shown"
    assert "not available" in verdict.reasons[0].text


def test_prompt_that_falls_alike_everywhere_is_not_better() -> None:
    fell = paired([0.5] * 8, [0.4] * 8, range(8))
    assert judge({**GOOD, "prompt": fell}, FACTS).word == "trade"


def test_rules_and_their_page_name_the_same_reasons() -> None:
    page = (Path(__file__).parents[3] / "docs" / "verdict.md").read_text("utf-8")
    codes = named_in("verdict") | named_in("doubts") | named_in("notes")
    codes -= {"style-rose", "prompt-kept"}
    assert len(codes) > 15
    assert codes <= set(re.findall(r"`([a-z-]+)`", page))
    in_tables = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) - {"style", "prompt"}
    assert {code for code in in_tables if "-" in code} <= codes
