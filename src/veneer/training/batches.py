"""What the UNet trains on at a step: pictures from the cache, with all that is drawn for them.

A step's *global batch* has ``train_batch_size * gradient_accumulation_steps`` items, numbered by position.
Every process takes the positions that are its rank modulo the number of processes, so the global batch is the
same for any number of them. Shapes: B items, C channels, h x w latent pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from veneer import processes
from veneer.config import Recipe, TrainTable
from veneer.errors import RecipeError, RunError
from veneer.models.families.family import Conditioning
from veneer.models.families.paths import NoisePath
from veneer.records.cache import CachedItem, CacheIndex, CacheReader, Split
from veneer.seeds import derive
from veneer.training import randomness
from veneer.training.data_order import DataOrder

PICTURE = ("mean", "std", "masks")
"""Tensors of a cached view that are the picture; all others are what the network is told of it."""


@dataclass(frozen=True)
class MicroBatch:
    """Pictures that go through the UNet together.

    Attributes:
        latents: Clean latents, scaled, shape (B, C, h, w).
        noise: Noise to predict, shape (B, C, h, w).
        input_noise: Noise in the UNet's input; the same tensor unless it is perturbed.
        timesteps: Shape (B,), int64.
        conditioning: What the network is told beside them, by name, each (B, ...), such as
            encoder_hidden_states (B, L, D).
        weights: Weight of each item in the step's mean, shape (B,).
        masks: Weight of each place, shape (B, 1, h, w), or None.
        prior: The same for prior prediction, or nothing.
        captions: The captions themselves, for a text encoder that is trained along.
        dropout_seed: Seed of the adapter's dropout.
    """

    latents: Tensor
    noise: Tensor
    input_noise: Tensor
    timesteps: Tensor
    conditioning: Conditioning
    weights: Tensor
    masks: Tensor | None = None
    prior: Conditioning = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    dropout_seed: int = 0

    def to(self, device: torch.device) -> MicroBatch:
        """The batch on a device; copies run beside the computation where memory is pinned."""
        if device.type == "cpu":
            return self
        return self._mapped(lambda tensor: _pinned(tensor).to(device, non_blocking=True))

    def split(self, parts: int) -> Iterator[MicroBatch]:
        """Cut into smaller batches.

        Args:
            parts: How many, at least 1; fewer come out where there are fewer items.

        Yields:
            The parts in order.
        """
        size = -(-len(self.timesteps) // parts)
        for first in range(0, len(self.timesteps), size):
            end = first + size
            part = self._mapped(lambda tensor, a=first, b=end: tensor[a:b])  # type: ignore[misc]
            yield dataclasses.replace(part, captions=self.captions[first:end])

    @property
    def layout(self) -> tuple[object, ...]:
        """What is equal where two batches fit into the same memory."""
        tensors = self._tensors()
        return self.input_noise is self.noise, *((k, v.shape, v.dtype) for k, v in tensors.items())

    def copy(self) -> MicroBatch:
        """The batch in memory of its own.

        Returns:
            A copy, to be filled again.
        """
        return self._mapped(torch.clone)

    def fill(self, other: MicroBatch) -> None:
        """Write another batch's tensors into this one's memory.

        Args:
            other: A batch of the same layout.
        """
        new = other._tensors()
        into = {id(tensor): (tensor, new[name]) for name, tensor in self._tensors().items()}
        for own, tensor in into.values():
            own.copy_(tensor, non_blocking=True)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until a stream has done what it was asked so far, once nobody holds the batch.

        Args:
            stream: The stream that reads the batch, not that which made it.
        """
        for tensor in self._tensors().values():
            tensor.record_stream(stream)

    def _tensors(self) -> dict[tuple[str, ...], Tensor]:
        """Every tensor, by the names that lead to it."""
        found: dict[tuple[str, ...], Tensor] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                found[name,] = value
            elif isinstance(value, dict):
                found |= {(name, key): tensor for key, tensor in value.items()}
        return found

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> MicroBatch:
        """Change each tensor once: what is the same before is the same afterwards."""
        tensors = self._tensors()
        changed = {key: change(tensor) for key, tensor in {id(t): t for t in tensors.values()}.items()}
        new: dict[str, Any] = {"conditioning": {}, "prior": {}}
        for (name, *key), tensor in tensors.items():
            if key:
                new[name][key[0]] = changed[id(tensor)]
            else:
                new[name] = changed[id(tensor)]
        return dataclasses.replace(self, **new)


@dataclass(frozen=True)
class BatchSource:
    """Makes the batches of any step.

    Attributes:
        flip: Share of pictures mirrored.
        place: Where on the base's path a share of the draws lies.
        order: Order of the pictures that are trained on.
        prior_order: Order of the prior's pictures, or None.
    """

    reader: CacheReader
    index: CacheIndex
    settings: TrainTable
    flip: float
    timestep_range: tuple[int, int]
    order: DataOrder
    prior_order: DataOrder | None
    place: Callable[[float], float] = float

    @property
    def batch(self) -> int:
        """Items of the global batch, prior pictures not counted."""
        return self.settings.train_batch_size * self.settings.gradient_accumulation_steps

    def at(self, step: int) -> Iterator[MicroBatch]:
        """This process's micro-batches of a step.

        Args:
            step: Optimizer step, from 1.

        Yields:
            Micro-batches on the CPU, of this process's items alone; their weights add up to 1 over all
            processes, prior pictures not counted.
        """
        items = self.index.split("train")
        yield from self._of_order(step, self.order, items, first=0, weight=1 / self.batch)
        if self.prior_order is not None:
            weight = self.settings.prior_loss_weight / self.batch
            yield from self._of_order(step, self.prior_order, self.index.split("prior"), self.batch, weight)

    def _of_order(
        self, step: int, order: DataOrder, items: Sequence[CachedItem], first: int, weight: float
    ) -> Iterator[MicroBatch]:
        accumulation, size = self.settings.gradient_accumulation_steps, self.settings.train_batch_size
        for number in range(accumulation):
            chosen = order.micro_batch((step - 1) * accumulation + number)
            start = first + number * size
            mine = [(start + i, items[k]) for i, k in enumerate(chosen) if _is_mine(start + i)]
            if mine:
                yield self._micro_batch(step, [p for p, _ in mine], [item for _, item in mine], weight)

    def _micro_batch(
        self, step: int, positions: Sequence[int], items: Sequence[CachedItem], weight: float
    ) -> MicroBatch:
        seed = self.settings.seed
        views = [self._view(step, position, item) for position, item in zip(positions, items, strict=True)]
        mean, std = (torch.stack([view[k] for view in views]) for k in ("mean", "std"))
        shape = mean.shape[1:]
        noise = self._noise(step, positions, shape)
        dropped = [self._happens("caption", self.settings.caption_dropout, step, p) for p in positions]
        told = [self._told(step, p, i) for p, i in zip(positions, items, strict=True)]
        texts = [self.index.empty_caption if d else file for d, (_, file) in zip(dropped, told, strict=True)]
        return MicroBatch(
            latents=mean + std * randomness.normal(seed, "latents", step, positions, shape),
            noise=noise,
            input_noise=self._perturbed(noise, step, positions),
            timesteps=self._timesteps(step, positions),
            conditioning=conditioning_of([self.reader.text(name) for name in texts], views),
            weights=torch.full((len(items),), weight),
            masks=torch.stack([_mask(view) for view in views]) if self.settings.masked_loss else None,
            prior=self._prior(items, views),
            captions=tuple("" if d else text for d, (text, _) in zip(dropped, told, strict=True)),
            dropout_seed=derive(seed, "dropout", step, positions[0]),
        )

    def _told(self, step: int, position: int, item: CachedItem) -> tuple[str, str]:
        """Caption and file of its embedding: one of several, where there are some."""
        if not item.orders:
            return item.caption, item.text
        share = randomness.uniform(self.settings.seed, "tag-order", step, position)
        return item.orders[int(share * len(item.orders))]

    def _view(self, step: int, position: int, item: CachedItem) -> dict[str, Tensor]:
        """One crop of a picture, perhaps mirrored."""
        crops, sides = self.index.crops, 2 if self.index.mirrored else 1
        crop = int(randomness.uniform(self.settings.seed, "crop", step, position) * crops) if crops > 1 else 0
        mirrored = sides == 2 and self._happens("flip", self.flip, step, position)
        return self.reader.view(item.latents, crop * sides + mirrored)

    def _happens(self, purpose: str, share: float, step: int, position: int) -> bool:
        """Whether what happens to a share of the pictures happens to this one."""
        return share > 0 and randomness.uniform(self.settings.seed, purpose, step, position) < share

    def _noise(self, step: int, positions: Sequence[int], shape: Sequence[int]) -> Tensor:
        seed, offset = self.settings.seed, self.settings.noise_offset
        noise = randomness.normal(seed, "noise", step, positions, shape)
        if offset:
            noise = noise + offset * randomness.normal(
                seed, "noise-offset", step, positions, (shape[0], 1, 1)
            )
        return noise

    def _perturbed(self, noise: Tensor, step: int, positions: Sequence[int]) -> Tensor:
        strength = self.settings.input_perturbation
        if not strength:
            return noise
        return noise + strength * randomness.normal(
            self.settings.seed, "perturb", step, positions, noise.shape[1:]
        )

    def _timesteps(self, step: int, positions: Sequence[int]) -> Tensor:
        table = self.settings
        batch = self.batch * (1 if self.prior_order is None else 2)
        return randomness.timesteps(
            table.seed,
            step,
            positions,
            batch,
            self.timestep_range,
            sampling=table.timestep_sampling,
            place=self.place,
        )

    def _prior(self, items: Sequence[CachedItem], views: Sequence[Mapping[str, Tensor]]) -> Conditioning:
        if not all(item.prior_text for item in items):
            return {}
        return conditioning_of([self.reader.text(item.prior_text) for item in items], views)


def conditioning_of(
    texts: Sequence[Mapping[str, Tensor]], views: Sequence[Mapping[str, Tensor]]
) -> Conditioning:
    """What the network is told of some pictures.

    Args:
        texts: What it is told of each caption, from the cache.
        views: The pictures' cached views.

    Returns:
        Tensors by name, each (B, ...).
    """
    own = [
        {**text, **{key: tensor for key, tensor in view.items() if key not in PICTURE}}
        for text, view in zip(texts, views, strict=True)
    ]
    return {key: torch.stack([one[key] for one in own]) for key in own[0]}


def batch_source(reader: CacheReader, index: CacheIndex, recipe: Recipe, path: NoisePath) -> BatchSource:
    """Set up the batches of a run.

    Args:
        path: The base's path, whose timesteps are drawn.

    Raises:
        RecipeError: If the recipe's timestep range does not fit the path.
    """
    settings = recipe.train
    orders = [_order(index, split, settings) for split in ("train", "prior")]
    if orders[0] is None:
        raise RunError("the cache holds no pictures to train on", todo="Run `veneer encode` again")
    timestep_range = checked_range(settings.timestep_range, path.num_timesteps)
    flip = recipe.encode.flip
    return BatchSource(reader, index, settings, flip, timestep_range, orders[0], orders[1], path.place)


def checked_range(wanted: tuple[int, int] | None, num_timesteps: int) -> tuple[int, int]:
    """The timesteps that are trained.

    Args:
        wanted: First timestep and one past the last, or None for all.
        num_timesteps: Timesteps of the scheduler.

    Returns:
        First timestep and one past the last.

    Raises:
        RecipeError: If they do not lie within the scheduler's.
    """
    first, end = wanted or (0, num_timesteps)
    if not 0 <= first < end <= num_timesteps:
        raise RecipeError(
            f"timesteps {first} to {end} are not a range within 0 to {num_timesteps}",
            where="train.timestep_range",
            todo="Give the first timestep and one past the last",
        )
    return first, end


def _order(index: CacheIndex, split: Split, train: TrainTable) -> DataOrder | None:
    buckets: dict[tuple[int, int], list[int]] = {}
    for number, item in enumerate(index.split(split)):
        buckets.setdefault(item.bucket, []).append(number)
    if not buckets:
        return None
    members = tuple(tuple(buckets[bucket]) for bucket in sorted(buckets))
    return DataOrder(members, train.train_batch_size, derive(train.seed, f"order-{split}"))


def _mask(view: dict[str, Tensor]) -> Tensor:
    return view["masks"] if "masks" in view else torch.ones_like(view["mean"][:1])


def _is_mine(position: int) -> bool:
    return position % processes.num_processes() == processes.rank()


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" and torch.cuda.is_available() else tensor
