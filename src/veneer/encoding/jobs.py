"""One picture to encode: how it is cut, where its latents go, and how it is decoded beside the VAE's work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from veneer import machine
from veneer.config import Recipe
from veneer.cores import cores
from veneer.data.picture import load_picture
from veneer.encoding.buckets import Crop, bucket_for, crop_for
from veneer.encoding.pixels import mask_path, mask_values, open_mask, pixel_values
from veneer.encoding.split import Picture
from veneer.models.base import Base
from veneer.models.families import CropView, Family
from veneer.records.cache import content_key, write_tensors
from veneer.records.files import hash_file

CPU_THREADS, MOST_THREADS = 2, 16
"""Threads that decode pictures on a CPU, which has its own work, and at most beside an accelerator."""
AHEAD = 3
"""Batches that are decoded ahead of their use on an accelerator; on a CPU one is."""
CPU_PIXELS = 512 * 512
"""Pixels that go through the VAE together on a CPU; an accelerator takes 8 times as many."""

Loaded = tuple[Tensor, dict[str, Tensor]]
Write = Callable[[Path, Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class EncodeJob:
    """A picture to encode.

    Attributes:
        bucket: Width and height of its bucket, in pixels.
        crops: Its crop variants.
        mirrored: Whether every crop is encoded mirrored too.
        masked: Whether it has a mask.
        factor: Pixels for each latent pixel, along a side.
        file: Where its latents go.
        family: Of the base; it may want to be told how the picture was cut.
    """

    path: Path
    bucket: tuple[int, int]
    crops: tuple[Crop, ...]
    mirrored: bool
    masked: bool
    factor: int
    file: Path
    family: Family

    @property
    def num_views(self) -> int:
        """Crops, with their mirror images."""
        return len(self.crops) * (2 if self.mirrored else 1)

    def load(self) -> Loaded:
        """Decode the picture.

        Returns:
            Pixel values, shape (V, 3, H, W), in [-1, 1], and what is stored beside the latents.
        """
        picture = load_picture(self.path)
        sides = (False, True) if self.mirrored else (False,)
        views = [(crop, side) for crop in self.crops for side in sides]
        pixels = torch.stack([pixel_values(picture, c, self.bucket, mirrored=side) for c, side in views])
        crops = [[crop.width, crop.height, crop.left, crop.top] for crop, _ in views]
        extra = {"crops": torch.tensor(crops, dtype=torch.int32)}
        told = [self.family.describe(self._view(picture.size, crop, side)) for crop, side in views]
        extra |= {name: torch.stack([one[name] for one in told]) for name in told[0]}
        if self.masked:
            mask = open_mask(mask_path(self.path))
            masks = [mask_values(mask, c, self.bucket, self.factor, mirrored=side) for c, side in views]
            extra["masks"] = torch.stack(masks)
        return pixels, extra

    def _view(self, size: tuple[int, int], crop: Crop, mirrored: bool) -> CropView:
        return CropView(size, (crop.width, crop.height), (crop.left, crop.top), self.bucket, mirrored)


def make_job(picture: Picture, cache: Path, recipe: Recipe, base: Base) -> EncodeJob:
    """Decide how a picture is cut, and name its latents by all that they depend on.

    Args:
        cache: The cache's folder.

    Returns:
        What is to be done; held-out pictures get the plain centre crop alone.
    """
    table = recipe.encode
    bucket = bucket_for(
        picture.size, table.resolution, base.size_multiple, aspects=table.buckets, upscale=table.upscale
    )
    variants = range(1 if picture.split == "held_out" else table.variants)
    crops = tuple(crop_for(picture.size, bucket, v, recipe.train.seed, picture.sha256) for v in variants)
    mirrored = table.flip > 0 and picture.split != "held_out"
    mask = mask_path(picture.path)
    masked = recipe.train.masked_loss and mask.is_file()
    mask_hash = hash_file(mask) if masked else ""
    key = content_key("latents-1", picture.sha256, base.fingerprint, bucket, crops, mirrored, mask_hash)
    file = cache / "latents" / f"{key}.safetensors"
    return EncodeJob(picture.path, bucket, crops, mirrored, masked, base.vae_factor, file, base.family)


def load_batches(
    jobs: Sequence[EncodeJob], device: torch.device
) -> Iterator[tuple[list[EncodeJob], list[Loaded]]]:
    """Decode pictures in threads, ahead of their use.

    On a CPU a batch is one picture: its last bits then do not depend on which others were encoded before.

    Yields:
        Jobs of one shape, and what they loaded.
    """
    batches = _batches(sorted(jobs, key=_shape), device)
    ahead = 1 if device.type == "cpu" else AHEAD
    with machine.side_threads(side_thread_count(device), "decode") as pool:
        waiting = [[pool.submit(job.load) for job in batch] for batch in batches[:ahead]]
        for number, batch in enumerate(batches):
            waiting += [[pool.submit(job.load) for job in one] for one in batches[number + ahead :][:1]]
            yield batch, [future.result() for future in waiting.pop(0)]


def side_thread_count(device: torch.device) -> int:
    """Threads that decode pictures.

    Returns:
        2 beside a CPU's own work; beside an accelerator this process's share of the cores.
    """
    if device.type == "cpu":
        return CPU_THREADS
    return max(CPU_THREADS, min(MOST_THREADS, cores() // machine.local_processes()))


@contextlib.contextmanager
def closing_writes(device: torch.device) -> Iterator[Write]:
    """Write cache files beside an accelerator's work; on a CPU at once.

    Yields:
        A function as `write_tensors`; at the end of the block all files are written.

    Raises:
        OSError: If one could not be written.
    """
    if device.type == "cpu":
        yield write_tensors
        return
    futures: list[Future[None]] = []
    with machine.side_threads(side_thread_count(device), "write") as pool:
        yield lambda path, tensors: futures.append(pool.submit(write_tensors, path, tensors))
        for future in futures:
            future.result()


def views_at_once(job: EncodeJob, device: torch.device) -> int:
    """Views of a job's shape that go through the VAE together.

    Args:
        job: Any job of the shape.

    Returns:
        A number from 1.
    """
    pixels = CPU_PIXELS * (1 if device.type == "cpu" else 8)
    return max(1, pixels // (job.bucket[0] * job.bucket[1]))


def _batches(jobs: Sequence[EncodeJob], device: torch.device) -> list[list[EncodeJob]]:
    batches = []
    for _, group in groupby(jobs, key=_shape):
        members = list(group)
        size = (
            1 if device.type == "cpu" else max(1, views_at_once(members[0], device) // members[0].num_views)
        )
        batches += [members[i : i + size] for i in range(0, len(members), size)]
    return batches


def _shape(job: EncodeJob) -> tuple[tuple[int, int], int, bool]:
    return job.bucket, job.num_views, job.masked
