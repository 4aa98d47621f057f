"""The cache between `encode` and `train`: latents and text embeddings, one file each, and an index of them.

::

    RUN/cache/index.json               what there is, and from what it was made
    RUN/cache/latents/KEY.safetensors  mean, std (V, C, h, w), scaled; crops (V, 4); masks (V, 1, h, w) where
                                       masked; what else the family's network is told of a view, (V, ...)
    RUN/cache/text/KEY.safetensors     what it is told of a caption, such as encoder_hidden_states (L, D)

V counts crop variants times (plain, mirrored), crop-major. Keys are hashes of everything that the content
depends on, so a file that exists is right, and a second `encode` of the same pictures makes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import SerializerFunctionWrapHandler, model_serializer
from torch import Tensor

from veneer.errors import RunError
from veneer.records.files import Record, write_bytes
from veneer.records.run import RunDir

Split = Literal["train", "held_out", "prior"]
BUDGET_BYTES = 2 * 2**30
"""Most bytes of latents and embeddings that a reader keeps in memory."""


class CachedItem(Record):
    """A picture in the cache."""

    file_name: str
    """Its path within the data set; of a prior picture, its full path."""
    caption: str
    """Its caption."""
    sha256: str
    """Hash of the picture's bytes."""
    split: Split
    """Whether it is trained on, held out, or a picture of what the base should keep."""
    bucket: tuple[int, int]
    """Width and height of its bucket, in pixels."""
    latents: str
    """File of its latents, relative to the cache."""
    text: str
    """File of its caption's embedding, relative to the cache."""
    tokens: int
    """Tokens of the caption with begin and end, before truncation."""
    truncated: bool
    """Whether the caption is longer than the text encoder reads."""
    prior_text: str = ""
    """File of the caption without prefix and trigger, for prior prediction; empty where not used."""
    orders: tuple[tuple[str, str], ...] = ()
    """Captions that are trained in its place, each with its embedding's file: several, or orders of tags."""

    @model_serializer(mode="wrap")
    def _without_no_orders(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As caches were before there were orders, where there are none."""
        plain: dict[str, Any] = handler(self)
        return plain if self.orders else {key: value for key, value in plain.items() if key != "orders"}


class CacheIndex(Record):
    """What the cache holds: ``cache/index.json``."""

    base: str
    """Fingerprint of the base model."""
    vae_factor: int
    """Pixels of a picture for each latent pixel, along a side."""
    native_px: int
    """Side of the pictures that the base was trained on, in pixels."""
    prediction_type: str
    """What the base's UNet predicts."""
    empty_caption: str
    """File of the empty caption's embedding, relative to the cache."""
    crops: int
    """Crop variants of each picture."""
    mirrored: bool
    """Whether every crop is there mirrored too."""
    items: tuple[CachedItem, ...]
    """Every picture."""

    @property
    def shapes(self) -> set[tuple[int, int]]:
        """Width and height of the pictures that are trained on, prior ones among them, in pixels."""
        return {item.bucket for item in self.items if item.split != "held_out"}

    @property
    def texts(self) -> set[str]:
        """Files of all embeddings, relative to the cache."""
        prior = {item.prior_text for item in self.items if item.prior_text}
        orders = {file for item in self.items for _, file in item.orders}
        return {self.empty_caption} | {item.text for item in self.items} | prior | orders

    def split(self, split: Split) -> tuple[CachedItem, ...]:
        """Pictures of one part, in the index's order."""
        return tuple(item for item in self.items if item.split == split)


def read_index(run: RunDir) -> CacheIndex:
    """Read what a run's cache holds.

    Raises:
        RunError: If there is no cache, or its index is damaged.
    """
    index = known_index(run)
    if index is None:
        todo = "Run `veneer encode` first"
        raise RunError("the pictures are not encoded yet", where=str(run.cache), todo=todo)
    return index


def known_index(run: RunDir) -> CacheIndex | None:
    """Read what a run's cache holds, where there is one.

    Returns:
        The index of its cache; None before `encode`.

    Raises:
        RunError: If the index is damaged.
    """
    path = run.cache_index
    return CacheIndex.read(path, "Run `veneer encode` again") if path.is_file() else None


def content_key(*parts: object) -> str:
    """Name of a cache file: a hash of all that its content depends on.

    Args:
        *parts: Anything with a stable text form.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors whole or not at all.

    Args:
        tensors: Tensors by name, on the CPU.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(contiguous))


def is_whole(path: Path) -> bool:
    """Whether a cache file exists, is as long as its header says, and holds finite numbers alone."""
    try:
        return not _broken(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError):
        return False


def _broken(tensors: Mapping[str, Tensor]) -> list[str]:
    """Tensors with a number that is not finite: one is enough to make every loss none."""
    return [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]


class CacheReader:
    """Reads tensors of a cache, and keeps them in memory up to a budget.

    Args:
        cache: The cache's folder.
        budget_bytes: Most bytes to keep.
    """

    def __init__(self, cache: Path, budget_bytes: int = BUDGET_BYTES) -> None:
        self._cache = cache
        self._left = budget_bytes
        self._kept: dict[str, dict[str, Tensor]] = {}
        self._device = torch.device("cpu")
        self._on_device: dict[str, dict[str, Tensor]] = {}

    def keep_texts_on(self, device: torch.device, names: Collection[str], budget_bytes: int) -> bool:
        """Give embeddings out on a device from now on: all of them, or none where they take too much.

        Args:
            device: Where batches are wanted.
            names: The files of all embeddings, relative to the cache; of equal size.
            budget_bytes: Most bytes that they may take.
        """
        one = sum(tensor.nbytes for tensor in self.tensors(next(iter(names))).values())
        if len(names) * one > budget_bytes:
            return False
        self._device = device
        return True

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of one file.

        Args:
            name: The file, relative to the cache.

        Returns:
            Tensors by name, on the CPU; not to be written to.

        Raises:
            RunError: If the file is missing or damaged.
        """
        if name in self._kept:
            return self._kept[name]
        try:
            tensors = dict(safetensors.torch.load_file(self._cache / name))
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(
                f"a cached file cannot be read: {error}",
                where=str(self._cache / name),
                todo="Run `veneer encode` again",
            ) from error
        if broken := _broken(tensors):
            raise RunError(
                f"a cached file holds numbers that are not finite: {broken[0]}",
                where=str(self._cache / name),
                todo="Run `veneer encode` again",
            )
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size <= self._left:
            self._kept[name] = tensors
            self._left -= size
        return tensors

    def view(self, name: str, number: int) -> dict[str, Tensor]:
        """One crop variant of a picture, plain or mirrored.

        Args:
            name: The file of its latents, relative to the cache.
            number: Its place in the file, from 0.

        Returns:
            Tensors by name: mean, std (C, h, w), masks (1, h, w) where there are some, and the family's own.
        """
        return {key: tensor[number] for key, tensor in self.tensors(name).items() if key != "crops"}

    def text(self, name: str) -> dict[str, Tensor]:
        """What the network is told of a caption, such as encoder_hidden_states (L, D).

        Args:
            name: The file, relative to the cache.
        """
        if self._device.type == "cpu":
            return self.tensors(name)
        if name not in self._on_device:
            self._on_device[name] = {k: t.to(self._device) for k, t in self.tensors(name).items()}
        return self._on_device[name]
