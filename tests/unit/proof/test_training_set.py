import numpy as np

from veneer.proof import training_set


def test_smoothness_tells_noise_from_pictures() -> None:
    random = np.random.default_rng(0)
    assert abs(training_set.smoothness(random.normal(size=(64, 64)))) < 0.1
    assert training_set.smoothness(np.add.outer(np.arange(64), np.arange(64))) > 0.9
    assert training_set.smoothness(np.full((8, 8), 7.0)) == 1
    assert training_set.smoothness(np.kron(random.integers(0, 256, (16, 16)), np.ones((4, 4)))) > 0.6
