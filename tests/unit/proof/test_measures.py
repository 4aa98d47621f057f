import re
from pathlib import Path

import numpy as np
import pytest

from veneer.proof import measures
from veneer.proof.evidence import evidence_of
from veneer.proof.pairs import Pair, View


def rows(
    seed: int, n: int = 12, d: int = 8, towards: np.ndarray | None = None, pull: float = 0.0
) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    if towards is not None:
        x = x + pull * towards
    return x / np.linalg.norm(x, axis=1, keepdims=True)


PROMPTS = [f"prompt {i // 2}" for i in range(12)]


def test_style_rises_with_pictures_nearer_to_held_out_ones() -> None:
    style = np.ones(8)
    held_out = rows(0, towards=style, pull=3)
    measure = measures.style_measure(
        View(rows(1), rows(2, towards=style, pull=2), None, held_out, held_out[:0]), PROMPTS
    )
    assert measure.rises
    assert measure.n == 6


def test_prompt_is_cosine_of_picture_and_text() -> None:
    base, texts = rows(1), rows(2)
    measure = measures.prompt_measure(base, texts, texts, PROMPTS)
    assert measure.tuned == pytest.approx(1)
    assert measure.base == pytest.approx((base * texts).sum(1).mean())


def test_retrieval_counts_own_prompts_that_come_first() -> None:
    texts = np.eye(6)
    own = [i // 2 for i in range(12)]
    right, wrong = texts[own], texts[[(i + 1) % 6 for i in own]]
    assert measures.retrieval_measure(wrong, right, texts, own, PROMPTS).tuned == 1
    assert measures.retrieval_measure(wrong, right, texts, own, PROMPTS).base == 0


def test_style_cost_compares_true_pictures_and_base_on_equal_texts() -> None:
    texts, base = rows(3, n=6, d=32), rows(4, n=6, d=32)
    true = base - 0.3 * texts
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    cost = measures.style_cost(base, true, texts, range(6))
    assert (cost.n, cost.unit) == (6, "captions")
    assert cost.ci95 is not None and cost.ci95[1] < 0


def test_how_much_held_out_pictures_differ_widens_the_style() -> None:
    """Pictures that come nearer to one half of the style and go away from the other."""
    n, real = 12, np.eye(8)
    base = np.tile(real.sum(0) / 8**0.5, (n, 1))
    tuned = base + 0.1 * (real[:4].sum(0) - real[4:].sum(0)) + 1e-3 * rows(1, n=n)
    lucky = measures.style_measure(View(base, tuned, None, real[:4], real[4:4]), range(n))
    known = measures.style_measure(View(base, tuned, None, real[[0, 1, 2, 4]], real[[3, 5, 6, 7]]), range(n))
    assert lucky.rises
    assert known.gain > 0
    assert not known.rises


def test_diversity_needs_two_seeds() -> None:
    assert measures.diversity_measure(rows(1), rows(2), [str(i) for i in range(12)]) is None
    same = np.repeat(rows(1, n=6), 2, axis=0)
    measure = measures.diversity_measure(rows(2), same, PROMPTS)
    assert measure.tuned == pytest.approx(0, abs=1e-9)
    assert measure.falls


def test_drift_of_the_base_is_zero() -> None:
    base = rows(1)
    assert measures.drift_measure(base, base, PROMPTS).delta == 0
    assert measures.drift_measure(base, rows(2), PROMPTS).falls


def test_copies_are_found_and_paired_with_what_they_copy() -> None:
    training = rows(0, n=20)
    copies = training[[3, 4, 5]] + 1e-3
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    tuned = np.vstack([copies, rows(9, n=9)])
    found = measures.memorisation(rows(1), tuned, training, PROMPTS)
    assert {(one.picture, one.training) for one in found.nearest[:3]} == {(0, 3), (1, 4), (2, 5)}
    assert all(one.is_copy for one in found.nearest[:3])
    assert found.num_copies >= 3
    similarities = [one.similarity for one in found.nearest]
    assert similarities == sorted(similarities, reverse=True)


def test_threshold_is_the_training_sets_own() -> None:
    training = rows(0, n=40)
    own = np.sort((training @ training.T - 2 * np.eye(40)).max(1))
    assert (own > measures.copy_threshold(training)).mean() <= 0.05


def test_the_same_picture_twice_does_not_hide_copies() -> None:
    training, again = rows(0, n=20, d=32), rows(0, n=20, d=32) + 1e-3 * rows(7, n=20, d=32)
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    copies = training[:12] + 0.01 * rows(8, n=12, d=32)
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    plain, blinded = (measures.copy_threshold(one) for one in (training, np.vstack([training, again])))
    assert blinded == pytest.approx(plain, abs=0.1)
    found = measures.memorisation(rows(1, d=32), copies, np.vstack([training, again]), PROMPTS)
    assert found is not None and found.num_copies == 12


def test_three_training_pictures_are_too_few() -> None:
    assert measures.memorisation(rows(1), rows(2), rows(0, n=3), PROMPTS) is None


def test_loss_with_one_mean_has_no_interval() -> None:
    assert measures.loss_measure([0.2], [0.1]).ci95 is None
    assert measures.loss_measure([0.2, 0.3, 0.2, 0.25, 0.21], [0.1, 0.21, 0.12, 0.11, 0.1]).rises


def test_smoothness_tells_noise_from_pictures() -> None:
    random = np.random.default_rng(0)
    assert abs(measures.smoothness(random.normal(size=(64, 64)))) < 0.1
    assert measures.smoothness(np.add.outer(np.arange(64), np.arange(64))) > 0.9
    assert measures.smoothness(np.full((8, 8), 7.0)) == 1
    assert measures.smoothness(np.kron(random.integers(0, 256, (16, 16)), np.ones((4, 4)))) > 0.6


@pytest.mark.parametrize("spec", measures.MEASURES, ids=lambda spec: spec.name)
def test_every_measure_asks_a_question_and_stands_in_the_page(spec: measures.Spec) -> None:
    assert "?" in spec.question
    page = (Path(__file__).parents[3] / "docs" / "verdict.md").read_text("utf-8")
    assert f"| `{spec.name}` | {spec.unit} | {spec.better} |" in page


def test_the_page_names_no_measure_that_is_not_in_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "verdict.md").read_text("utf-8")
    table = page[page.index("## The measures") :].split("\n\n")[1]
    names = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert names == [spec.name for spec in measures.MEASURES]


def test_measures_point_the_way_that_the_table_says() -> None:
    view = View(rows(1), rows(2), rows(3), rows(4, n=5), rows(5, n=6))
    pairs = [Pair(prompt, "recipe", seed, Path(), Path()) for seed, prompt in enumerate(PROMPTS)]
    seen = evidence_of(pairs, view, second=view, texture=view, losses=((0.1, 0.2), (0.1, 0.1)))
    for spec in measures.MEASURES:
        found = spec.of(seen)
        assert not isinstance(found, str), spec.name
        assert found.better == spec.better
