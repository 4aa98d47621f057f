import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veneer.proof import verdict as verdict_module
from veneer.proof.verdict import Facts, Losses, Verdict, judge
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
    assert codes(verdict) == ["style-rose"]


def test_prompt_fallen_beyond_the_margin_is_worse() -> None:
    verdict = judge({**GOOD, "prompt": rise(-0.05)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("worse", ["prompt-fell"])


def test_prompt_fallen_within_the_margin_is_allowed() -> None:
    assert judge({**GOOD, "prompt": rise(-0.05)}, FACTS, prompt_margin=0.1).word == "better"


@pytest.mark.parametrize(
    ("true_prompt", "chance", "word", "is_counted"),
    [
        (0.44, 0.001, "better", True),
        (0.48, 0.001, "worse", True),
        (0.44, 0.5, "worse", False),
        (0.44, None, "worse", False),
        (None, 0.001, "worse", False),
    ],
)
def test_no_more_is_asked_than_true_pictures_of_the_style_have(
    true_prompt: float | None, chance: float | None, word: str, is_counted: bool
) -> None:
    fallen = rise(-0.05)
    assert 0.48 < fallen.base < 0.49
    facts = dataclasses.replace(FACTS, true_prompt=true_prompt, caption_p_value=chance)
    verdict = judge({**GOOD, "prompt": fallen}, facts)
    assert verdict.word == word
    assert ("by which true pictures" in verdict.reasons[0].text) == is_counted


def test_a_style_that_the_prompt_measure_likes_asks_for_no_more() -> None:
    facts = dataclasses.replace(FACTS, true_prompt=0.9, caption_p_value=0.001)
    assert judge(GOOD, facts).word == "better"


def test_unsure_prompt_is_no_different() -> None:
    verdict = judge({**GOOD, "prompt": rise(-0.01, spread=0.1)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("no different", ["prompt-unsure"])


def test_what_to_try_does_not_contradict_itself() -> None:
    losses = Losses(base=0.2, chosen=0.1, chosen_step=300, best=0.1, best_step=300, last=0.1, last_step=300)
    unsure = {"style": rise(0.0), "prompt": rise(-0.01, spread=0.1)}
    tried = {one.code: one.todo for one in judge(unsure, dataclasses.replace(FACTS, losses=losses)).reasons}
    assert tried["style-same"].startswith("Train longer")
    assert "fewer steps" not in tried["prompt-unsure"]
    shown = judge({**unsure, "style": rise(0.1)}, FACTS).reasons[0]
    assert (shown.code, shown.todo) == ("prompt-unsure", "Add prompts, or train fewer steps")


def test_style_fallen_is_worse() -> None:
    assert codes(judge({**GOOD, "style": rise(-0.1)}, FACTS)) == ["style-fell"]


def test_subject_lost_is_worse() -> None:
    lost = rise(-0.5)
    assert codes(judge({**GOOD, "retrieval": lost}, FACTS)) == ["subject-lost"]


def test_a_difference_that_nobody_sees_is_none_however_sure() -> None:
    up, down = (rise(delta, spread=0.0001) for delta in (0.001, -0.001))
    assert up.rises and down.falls
    for style in (up, down):
        assert codes(judge({**GOOD, "style": style}, FACTS)) == ["style-same"]


def test_style_the_same_says_what_to_try() -> None:
    verdict = judge({**GOOD, "style": rise(0.0)}, FACTS)
    assert (verdict.word, codes(verdict)) == ("no different", ["style-same"])
    assert verdict.reasons[0].todo


def test_texture_alone_can_make_a_better() -> None:
    assert (
        judge({"style": rise(0.0), "style_texture": rise(0.1), "prompt": rise(0.0)}, FACTS).word == "better"
    )


def test_second_embedder_can_stop_a_better_and_a_worse() -> None:
    assert judge({**GOOD, "style_dino": rise(-0.1)}, FACTS).word == "no different"
    assert judge({**GOOD, "style": rise(-0.1), "style_dino": rise(0.1)}, FACTS).word == "no different"


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
    assert verdict.word == "no different"
    assert codes(verdict) == [code]
    assert verdict.reasons[0].todo


def test_cause_is_named_beside_a_worse() -> None:
    diverged = dataclasses.replace(FACTS, losses=Losses(0.05, 1.0, 60, 1.0, 60, 1.0, 60))
    verdict = judge({**GOOD, "prompt": rise(-0.2)}, diverged)
    assert (verdict.word, codes(verdict)) == ("worse", ["prompt-fell", "diverged"])


def test_one_broken_picture_may_be_chance() -> None:
    one = dataclasses.replace(FACTS, num_pictures=8, num_broken=1)
    assert "broken-pictures" not in codes(judge(GOOD, one))
    assert "broken-pictures" in codes(judge(GOOD, dataclasses.replace(one, num_broken=2)))


def test_broken_pictures_are_worse() -> None:
    assert codes(judge(GOOD, dataclasses.replace(FACTS, num_broken=5))) == ["broken-pictures"]


def test_copies_decide_only_where_they_are_many() -> None:
    many = paired([0.0] * 16, [1.0] * 12 + [0.0] * 4, range(16), better="lower")
    few = paired([0.0] * 16, [1.0] * 2 + [0.0] * 14, range(16), better="lower")
    some = dataclasses.replace(FACTS, num_copies=5)
    assert codes(judge({**GOOD, "memorisation": many}, some)) == ["memorised"]
    assert judge({**GOOD, "memorisation": few}, some).word == "better"


@pytest.mark.parametrize(
    ("measures", "facts", "code"),
    [
        ({}, {"side_px": 1024, "native_px": 512}, "resolution-above-base"),
        ({}, {"style_word_share": 0.1}, "no-style-word"),
        ({}, {"losses": Losses(0.2, 0.1, 100, 0.1, 100, 0.15, 900)}, "overfit-later"),
        ({"general_prompt": rise(-0.1)}, {}, "forgets"),
        ({"diversity": rise(-0.4)}, {}, "less-varied"),
    ],
)
def test_notes_do_not_decide(measures: dict[str, Any], facts: dict[str, Any], code: str) -> None:
    verdict = judge(GOOD | measures, dataclasses.replace(FACTS, **facts))
    assert verdict.word == "better"
    assert codes(verdict, deciding=False) == [code]


def test_base_against_base_is_no_different() -> None:
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
    assert words.count("no different") >= 95


def test_one_prompt_and_one_seed_is_said_in_words() -> None:
    one = Measure(
        0.5, 0.7, 0.2, None, None, 1, 1.0, "higher", note="interval not available: 1 of the 5 units"
    )
    verdict = judge({"style": one, "prompt": one}, dataclasses.replace(FACTS, num_prompts=1, num_pictures=1))
    assert verdict.word == "no different"
    assert "not available" in verdict.reasons[0].text


def test_prompt_that_falls_alike_everywhere_is_not_better() -> None:
    """Without spread there is no interval, but the fall is there."""
    fell = paired([0.5] * 8, [0.4] * 8, range(8))
    assert fell.ci95 is None
    assert judge({**GOOD, "prompt": fell}, FACTS).word == "no different"


def test_rules_and_their_page_name_the_same_reasons() -> None:
    source = Path(verdict_module.__file__).read_text("utf-8")
    page = (Path(__file__).parents[3] / "docs" / "verdict.md").read_text("utf-8")
    codes = set(re.findall(r'Reason\(\s*"([a-z-]+)"', source)) - {"style-rose"}
    assert len(codes) > 15
    assert codes <= set(re.findall(r"`([a-z-]+)`", page))
    in_tables = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) - {"style", "prompt"}
    assert {code for code in in_tables if "-" in code} <= codes
