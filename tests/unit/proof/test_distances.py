import itertools

import numpy as np
import pytest

from veneer.proof import distances


def test_kernel_distance_is_the_unbiased_estimator() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(7, 5)), random.normal(size=(9, 5)) + 0.5
    k = lambda a, b: (a @ b / 5 + 1) ** 3  # noqa: E731
    xx = np.mean([k(a, b) for a, b in itertools.permutations(x, 2)])
    yy = np.mean([k(a, b) for a, b in itertools.permutations(y, 2)])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert distances.kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy)


@pytest.mark.parametrize(("num_drawn", "subsets"), [(20, 1), (60, 300)])
def test_kernel_distance_agrees_with_torchmetrics_on_given_features(num_drawn: int, subsets: int) -> None:
    """Sets of one size: the same number. Others: what its random subsets of equal size tend to."""
    torch, image = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.kid")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(num_drawn, 8)), random.normal(size=(20, 8)) + 1
    kid = image.KernelInceptionDistance(torch.nn.Identity(), subsets=subsets, subset_size=20)
    kid.set_dtype(torch.float64)
    kid.update(torch.tensor(y), real=True)
    kid.update(torch.tensor(x), real=False)
    torch.manual_seed(0)
    mean, deviation = (float(one) for one in kid.compute())
    tolerance = 1e-6 if subsets == 1 else 4 * deviation / subsets**0.5
    assert distances.kernel_distance(x, y) == pytest.approx(mean, abs=tolerance)


def test_kernel_distances_say_which_set_is_nearer() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(12, 6)) + 1
    base, tuned = random.normal(size=(20, 6)), random.normal(size=(20, 6)) + 1
    measure = distances.kernel_distances(base, tuned, real, [i // 2 for i in range(20)])
    assert measure.rises
    assert measure.n == 10
    assert measure.wins is None


def test_kernel_distances_of_one_set_have_no_interval() -> None:
    x = np.random.default_rng(0).normal(size=(10, 4))
    measure = distances.kernel_distances(x, x, x + 1, range(10))
    assert measure.delta == 0
    assert measure.ci95 is None


def test_pairwise_distance_of_opposites() -> None:
    assert distances.mean_pairwise_distance(np.asarray([[1.0, 0.0], [-1.0, 0.0]])) == 2
    assert distances.mean_pairwise_distance(np.asarray([[1.0, 0.0]] * 3)) == 0


def test_matching_p_value_tells_own_captions_from_dealt_ones() -> None:
    random = np.random.default_rng(0)
    texts = random.normal(size=(24, 16))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    assert distances.matching_p_value(texts, texts) < 0.01
    assert distances.matching_p_value(texts, np.roll(texts, 5, axis=0)) > 0.05
