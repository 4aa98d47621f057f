"""The order of the pictures."""

from __future__ import annotations

from collections import Counter

from veneer.training.data_order import DataOrder


def test_every_picture_comes_once_an_epoch() -> None:
    order = DataOrder((tuple(range(12)),), 4, seed=1)
    for epoch in range(3):
        seen = [i for n in range(epoch * 3, epoch * 3 + 3) for i in order.micro_batch(n)]
        assert sorted(seen) == list(range(12))


def test_buckets_that_do_not_divide_are_neither_cut_nor_filled_up() -> None:
    buckets = ((0, 1, 2, 3, 4), (5, 6, 7), (8,))
    order = DataOrder(buckets, 2, seed=3)
    batches = [order.micro_batch(n) for n in range(9 * 20 // 2)]
    assert all(any(set(batch) <= set(bucket) for bucket in buckets) for batch in batches)
    assert all(len(batch) == 2 for batch in batches)
    counts = Counter(i for batch in batches for i in batch)
    assert set(counts.values()) == {20}


def test_the_order_differs_by_epoch_and_seed_and_is_reproducible() -> None:
    order = DataOrder((tuple(range(30)),), 3, seed=1)
    first = [order.micro_batch(n) for n in range(10)]
    assert first == [DataOrder((tuple(range(30)),), 3, seed=1).micro_batch(n) for n in range(10)]
    assert first != [order.micro_batch(n) for n in range(10, 20)]
    assert first != [DataOrder((tuple(range(30)),), 3, seed=2).micro_batch(n) for n in range(10)]


def test_a_batch_larger_than_the_data_set_goes_round() -> None:
    order = DataOrder(((0, 1, 2),), 8, seed=0)
    counts = Counter(i for n in range(3) for i in order.micro_batch(n))
    assert counts == {0: 8, 1: 8, 2: 8}
