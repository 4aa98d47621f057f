import numpy as np
import pytest

from helpers.features import PROMPTS, rows
from veneer.proof import likeness
from veneer.proof.pairs import View


def test_style_rises_with_pictures_nearer_to_held_out_ones() -> None:
    style = np.ones(8)
    held_out = rows(0, towards=style, pull=3)
    measure = likeness.style_measure(
        View(rows(1), rows(2, towards=style, pull=2), None, held_out, held_out[:0]), PROMPTS
    )
    assert measure.rises
    assert measure.n == 6


def test_prompt_is_cosine_of_picture_and_text() -> None:
    base, texts = rows(1), rows(2)
    measure = likeness.prompt_measure(base, texts, texts, PROMPTS)
    assert measure.tuned == pytest.approx(1)
    assert measure.base == pytest.approx((base * texts).sum(1).mean())


def test_retrieval_counts_own_prompts_that_come_first() -> None:
    texts = np.eye(6)
    own = [i // 2 for i in range(12)]
    right, wrong = texts[own], texts[[(i + 1) % 6 for i in own]]
    assert likeness.retrieval_measure(wrong, right, texts, own, PROMPTS).tuned == 1
    assert likeness.retrieval_measure(wrong, right, texts, own, PROMPTS).base == 0


def test_style_cost_compares_true_pictures_and_base_on_equal_texts() -> None:
    texts, base = rows(3, n=6, d=32), rows(4, n=6, d=32)
    true = base - 0.3 * texts
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    cost = likeness.style_cost(base, true, texts, range(6))
    assert (cost.n, cost.unit) == (6, "captions")
    assert cost.ci95 is not None and cost.ci95[1] < 0


def test_the_span_is_what_a_whole_prompt_is_worth() -> None:
    texts = np.eye(4)
    assert likeness.prompt_span(texts, texts, "abcd") == pytest.approx(1)
    assert likeness.prompt_span(texts[[1, 0, 3, 2]], texts, "abcd") == pytest.approx(-1 / 3)
    twice = np.repeat(texts, 2, axis=0)
    assert likeness.prompt_span(twice, twice, "aabbccdd") == pytest.approx(
        1
    )  # the other seed is no other prompt


def test_how_much_held_out_pictures_differ_widens_the_style() -> None:
    """Pictures that come nearer to one half of the style and go away from the other."""
    n, real = 12, np.eye(8)
    base = np.tile(real.sum(0) / 8**0.5, (n, 1))
    tuned = base + 0.1 * (real[:4].sum(0) - real[4:].sum(0)) + 1e-3 * rows(1, n=n)
    lucky = likeness.style_measure(View(base, tuned, None, real[:4], real[4:4]), range(n))
    known = likeness.style_measure(View(base, tuned, None, real[[0, 1, 2, 4]], real[[3, 5, 6, 7]]), range(n))
    assert lucky.rises
    assert known.gain > 0
    assert not known.rises


def test_diversity_needs_two_seeds() -> None:
    assert likeness.diversity_measure(rows(1), rows(2), [str(i) for i in range(12)]) is None
    same = np.repeat(rows(1, n=6), 2, axis=0)
    measure = likeness.diversity_measure(rows(2), same, PROMPTS)
    assert measure is not None and measure.kept == pytest.approx(0, abs=1e-9)
    assert measure.tuned == pytest.approx(0, abs=1e-9)
    assert measure.falls


def test_drift_of_the_base_is_zero() -> None:
    base = rows(1)
    assert likeness.drift_measure(base, base, PROMPTS).delta == 0
    assert likeness.drift_measure(base, rows(2), PROMPTS).falls


def test_loss_with_one_mean_has_no_interval() -> None:
    assert likeness.loss_measure([0.2], [0.1]).ci95 is None
    assert likeness.loss_measure([0.2, 0.3, 0.2, 0.25, 0.21], [0.1, 0.21, 0.12, 0.11, 0.1]).rises
