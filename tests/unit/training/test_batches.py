"""A micro-batch as memory: cut, copied, filled again; and what is drawn for it no more often than needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers.indexes import cache_index, cached_item
from veneer.config import TrainTable
from veneer.training import randomness
from veneer.training.batches import BatchSource, MicroBatch
from veneer.training.data_order import DataOrder


def batch(size: int = 4, seed: int = 0, **more: Any) -> MicroBatch:
    generator = torch.Generator().manual_seed(seed)
    latents, noise = (torch.randn(size, 4, 8, 8, generator=generator) for _ in range(2))
    return MicroBatch(
        latents=latents,
        noise=noise,
        input_noise=noise,
        timesteps=torch.randint(0, 1000, (size,), generator=generator),
        conditioning={"encoder_hidden_states": torch.randn(size, 7, 6, generator=generator)},
        weights=torch.full((size,), 1 / size),
        captions=tuple("abcd"[:size]),
        **more,
    )


def test_noise_that_is_one_tensor_stays_one_however_it_is_moved() -> None:
    moved: list[torch.Tensor] = []

    def move(tensor: torch.Tensor) -> torch.Tensor:
        moved.append(tensor)
        return tensor.clone()

    copy = batch()._mapped(move)
    assert copy.input_noise is copy.noise
    assert len(moved) == 5
    assert all(part.input_noise is part.noise for part in batch().split(2))
    other = replace(batch(), input_noise=torch.zeros(4, 4, 8, 8)).copy()
    assert other.input_noise is not other.noise


def test_a_copy_is_filled_where_it_lies() -> None:
    one, two = batch(seed=0), batch(seed=1)
    copy = one.copy()
    places = {name: tensor.data_ptr() for name, tensor in copy._tensors().items()}
    copy.fill(two)
    assert {name: tensor.data_ptr() for name, tensor in copy._tensors().items()} == places
    for name, tensor in two._tensors().items():
        assert torch.equal(copy._tensors()[name], tensor)
    assert torch.equal(one.latents, batch(seed=0).latents)


def test_batches_that_fit_into_the_same_memory_have_one_layout() -> None:
    layout = batch().layout
    assert batch(seed=1).layout == layout
    others = [
        batch(2),
        batch(masks=torch.ones(4, 1, 8, 8)),
        batch(prior={"encoder_hidden_states": torch.ones(4, 7, 6)}),
        replace(batch(), latents=torch.zeros(4, 4, 8, 16)),
        replace(batch(), input_noise=torch.zeros(4, 4, 8, 8)),
        replace(batch(), conditioning={"encoder_hidden_states": torch.zeros(4, 7, 6, dtype=torch.float64)}),
    ]
    assert len({layout, *(other.layout for other in others)}) == 1 + len(others)


class Reader:
    def view(self, name: str, number: int) -> dict[str, torch.Tensor]:
        return {"mean": torch.zeros(4, 8, 8), "std": torch.ones(4, 8, 8)}

    def text(self, name: str) -> dict[str, torch.Tensor]:
        return {"encoder_hidden_states": torch.zeros(7, 6)}


@pytest.mark.parametrize(
    ("flip", "dropout", "crops", "drawn"),
    [(0.0, 0.0, 1, set()), (0.5, 0.0, 1, {"flip"}), (0.0, 0.1, 1, {"caption"}), (0.0, 0.0, 2, {"crop"})],
)
def test_what_cannot_happen_is_not_drawn(
    monkeypatch: pytest.MonkeyPatch, flip: float, dropout: float, crops: int, drawn: set[str]
) -> None:
    seen: set[str] = set()
    original = randomness.uniform

    def uniform(seed: int, purpose: str, step: int, item: int) -> float:
        seen.add(purpose)
        return original(seed, purpose, step, item)

    monkeypatch.setattr(randomness, "uniform", uniform)
    item = cached_item()
    index = cache_index((item,) * 2, crops=crops, mirrored=True)
    settings = TrainTable(caption_dropout=dropout)
    reader: Any = Reader()
    source = BatchSource(reader, index, settings, flip, (0, 1000), DataOrder(((0, 1),), 2, 0), None)
    next(source.at(1))
    assert seen - {"timestep"} == drawn
