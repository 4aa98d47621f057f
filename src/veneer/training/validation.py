"""Held-out loss on a fixed grid of pictures, timesteps and noises: the same question to every candidate.

Differences between candidates are then differences between weights, not between draws (Voronov et al. 2023,
"Is This Loss Informative? Faster Text-to-Image Customization by Tracking Objective Dynamics").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from veneer import machine, processes
from veneer.events import Notice, OnEvent, ignore
from veneer.kernels.cudnn import trying
from veneer.records.cache import CachedItem, CacheIndex, CacheReader
from veneer.training import randomness
from veneer.training.batches import MicroBatch, conditioning_of
from veneer.training.diffusion import Objective
from veneer.training.network import Network

STRATA = 8
MAX_HELD_OUT_POINTS = 256
BATCH = 4
PLACES_ON_DEVICE = 32 * 64**2
"""Latent pixels that an accelerator judges at once: 32 pictures of 512 px."""
MAX_BATCH_ON_DEVICE = 64


@dataclass(frozen=True)
class Point:
    """One question of the grid.

    Attributes:
        picture: Number of the held-out picture.
        stratum: Number of the timestep's stratum.
    """

    picture: int
    stratum: int
    timestep: int


@dataclass(frozen=True)
class HeldOutLoss:
    """A held-out loss.

    Attributes:
        loss: Mean over the pictures.
        losses: Loss of each picture.
        by_timestep: Loss of each stratum, from little noise to much.
    """

    loss: float
    losses: tuple[float, ...]
    by_timestep: tuple[float, ...]


def grid(
    num_pictures: int,
    timestep_range: tuple[int, int],
    max_points: int = MAX_HELD_OUT_POINTS,
    place: Callable[[float], float] = float,
) -> list[Point]:
    """The questions: every picture at the middle of every stratum; where that is too much, a part in balance.

    Args:
        num_pictures: Held-out pictures.
        max_points: Most questions; every picture has at least one.
        place: Where on the base's path the middle of a stratum, a share in [0, 1), lies.

    Returns:
        Points, the same for the same arguments.
    """
    first, end = timestep_range
    rounds = max(1, min(STRATA, max_points // max(1, num_pictures)))
    middles = [first + int((end - first) * place((k + 0.5) / STRATA)) for k in range(STRATA)]
    strata = [(r * STRATA // rounds, p) for r in range(rounds) for p in range(num_pictures)]
    return [Point(p, (r + p) % STRATA, middles[(r + p) % STRATA]) for r, p in strata]


class Validator:
    """Judges the network as it is.

    Args:
        objective: Its target; weights and robust distances do not count here.
        on_event: Told where memory does not suffice for several pictures at once.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        index: CacheIndex,
        reader: CacheReader,
        *,
        seed: int,
        timestep_range: tuple[int, int],
        accelerator: Accelerator,
        on_event: OnEvent = ignore,
    ) -> None:
        self._network = network
        self._objective = objective
        self._reader = reader
        self._seed = seed
        self._accelerator = accelerator
        self._on_event = on_event
        self._is_cut = False
        self._vae_factor = index.vae_factor
        self.items = index.split("held_out")
        self._points = grid(len(self.items), timestep_range, place=objective.path.place)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the held-out pictures."""
        return tuple(item.file_name for item in self.items)

    def measure(self) -> HeldOutLoss | None:
        """Measure the held-out loss.

        Returns:
            The loss, or None where nothing is held out.
        """
        if not self.items:
            return None
        self._network.train(False)
        sums = torch.zeros(4, max(len(self.items), STRATA), dtype=torch.float64)
        batches = self._batches()
        with trying(False):  # each shape comes a few times
            judged = [self._losses(points) for points in batches]  # nothing is read before all is asked for
        for points, losses in zip(batches, judged, strict=True):
            for point, loss in zip(points, losses.double().cpu(), strict=True):
                sums[:, point.picture] += torch.tensor([loss, 1, 0, 0])
                sums[:, point.stratum] += torch.tensor([0, 0, loss, 1])
        self._network.train()
        total = torch.tensor(processes.share_numbers(sums.flatten().tolist()), dtype=torch.float64).view_as(
            sums
        )
        losses = (total[0] / total[1])[: len(self.items)]
        by_timestep = (total[2] / total[3].clamp(min=1))[:STRATA]
        return HeldOutLoss(float(losses.mean()), tuple(losses.tolist()), tuple(by_timestep.tolist()))

    def _batches(self) -> list[list[Point]]:
        by_bucket: dict[tuple[int, int], list[Point]] = {}
        for point in self._points:
            by_bucket.setdefault(self.items[point.picture].bucket, []).append(point)
        batches = []
        for bucket, points in by_bucket.items():
            size = self._batch_size(bucket)
            batches += [points[i : i + size] for i in range(0, len(points), size)]
        return list(processes.shard(batches))

    def _batch_size(self, bucket: tuple[int, int]) -> int:
        if self._accelerator.device.type == "cpu":
            return BATCH
        places = bucket[0] * bucket[1] // self._vae_factor**2
        return max(BATCH, min(MAX_BATCH_ON_DEVICE, PLACES_ON_DEVICE // places))

    def _losses(self, points: Sequence[Point]) -> Tensor:
        """Losses of some points; in halves where memory does not suffice for all of them at once."""
        try:
            return self._losses_at_once(points)
        except RuntimeError as error:
            if len(points) == 1 or not machine.is_out_of_memory(error):
                raise
        if not self._is_cut:
            self._is_cut = True
            message = f"not enough memory to judge {len(points)} pictures at once: fewer are taken together"
            self._on_event(Notice("train", "out-of-memory", message))
        middle = len(points) // 2
        return torch.cat([self._losses(points[:middle]), self._losses(points[middle:])])

    def _losses_at_once(self, points: Sequence[Point]) -> Tensor:
        batch = self._batch(points).to(self._accelerator.device)
        path = self._objective.path
        noisy_latents = path.mix(batch.latents, batch.noise, batch.timesteps)
        with torch.no_grad(), self._accelerator.autocast():
            conditioning = self._network.conditioning(batch)
            model_pred = self._network.predict(noisy_latents, batch.timesteps, conditioning)
        target = path.target(batch.latents, batch.noise, batch.timesteps)
        return (model_pred.float() - target.float()).square().mean(dim=(1, 2, 3))

    def _batch(self, points: Sequence[Point]) -> MicroBatch:
        items: list[CachedItem] = [self.items[point.picture] for point in points]
        views = [self._reader.view(item.latents, 0) for item in items]
        latents = torch.stack([view["mean"] for view in views])
        noise = torch.cat(
            [
                randomness.normal(
                    self._seed, f"validation-{item.file_name}", 0, [point.stratum], latents.shape[1:]
                )
                for item, point in zip(items, points, strict=True)
            ]
        )
        return MicroBatch(
            latents=latents,
            noise=noise,
            input_noise=noise,
            timesteps=torch.tensor([point.timestep for point in points]),
            conditioning=conditioning_of([self._reader.text(item.text) for item in items], views),
            weights=torch.ones(len(points)),
            captions=tuple(item.caption for item in items),
        )
