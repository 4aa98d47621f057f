"""Turn the data set into latents and text embeddings: neither VAE nor text encoder runs while training.

``veneer encode RUN``. What the cache holds already is not made again; with several processes each makes its
share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from veneer import machine, processes
from veneer.arguments import PathLike
from veneer.config import Recipe
from veneer.encoding import STAGE
from veneer.encoding.buckets import Reshaping
from veneer.encoding.jobs import EncodeJob, closing_writes, load_batches, views_at_once
from veneer.encoding.planning import EncodePlan, load_parts, plan_encoding, text_file
from veneer.errors import BaseModelError
from veneer.events import Notice, OnEvent, Progress, StageStarted, ignore
from veneer.models.base import Base, encode_pixels, encode_prompts
from veneer.notebook import in_notebook
from veneer.records.cache import CacheIndex, write_tensors
from veneer.records.run import AnyRun, RunDir, opened
from veneer.training.checkpoints import as_run_error

TEXT_BATCH = 16


@dataclass(frozen=True)
class EncodeResult:
    """What encoding gave.

    Attributes:
        pictures: Pictures in the cache, prior ones not counted.
        held_out: How many of them are held out.
        encoded: Pictures encoded now, by all processes.
        reused: Pictures that the cache held already.
        truncated: Captions longer than the text encoder reads.
        buckets: Sizes in pixels and how many pictures have them.
        reshaping: What resizing and cropping did to them.
    """

    pictures: int
    held_out: int
    encoded: int
    reused: int
    truncated: int
    buckets: tuple[tuple[tuple[int, int], int], ...]
    reshaping: Reshaping

    @property
    def summary(self) -> str:
        """One line of what there is now."""
        sizes = ", ".join(f"{n} of {w}x{h} px" for (w, h), n in self.buckets)
        cut = f"{self.reshaping.cut_percent:.1f} % of their pixels cropped away"
        return f"{self.pictures} pictures encoded ({sizes}), {cut}, {self.held_out} held out"

    @property
    def news(self) -> str:
        """What this command did of it; empty where nothing came before it."""
        return f"{self.reused} taken from the cache" if self.reused else ""


def encode(
    run: AnyRun, recipe: Recipe | PathLike | None = None, on_event: OnEvent = in_notebook
) -> EncodeResult:
    """Encode a run's data set.

    Returns:
        What was encoded.

    Raises:
        DatasetError: If there are fewer than 4 pictures, or captions or pictures cannot be used.
        BaseModelError: If the base cannot be loaded.
        RunError: If the disk is full.
    """
    run, recipe = opened(run, recipe)
    machine.set_threads()
    plan = plan_encoding(run, recipe, on_event)
    processes.wait_for_everyone()  # all have looked for what is there before one adds to it
    with as_run_error(run.cache):
        share = processes.shard(plan.todo)
        on_event(StageStarted(STAGE, len(share), "pictures"))
        if share:
            encode_pictures(share, load_vae(recipe, plan.base), on_event)
        machine.hand_back_memory()
        if texts := plan.texts_to_do(processes.shard(plan.texts)):
            encode_texts(texts, run.cache, load_texts(recipe, plan.base))
        processes.wait_for_everyone()
    return finish_encoding(run, plan, on_event)


def finish_encoding(run: RunDir, plan: EncodePlan, on_event: OnEvent = ignore) -> EncodeResult:
    """Write the index of a cache that has all that was planned, and take out what is used no more.

    Raises:
        RunError: If the disk is full.
    """
    with as_run_error(run.cache):
        if processes.is_main_process():
            plan.index.write(run.cache_index)
            _prune(run.cache, plan.index)
    processes.wait_for_everyone()
    return _result(plan.index, len(plan.todo), plan.reshaped, plan.base, on_event)


run = encode
"""The stage, as the pipeline calls it."""


def vae_dtype(base: Base, device: torch.device) -> torch.dtype:
    """Precision that pictures are encoded in.

    Returns:
        bfloat16 on a GPU that has it, unless the VAE's settings ask for more; float32 elsewhere.
    """
    if device.type != "cuda" or base.settings["vae"].get("force_upcast", False):
        return torch.float32
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


def text_dtype(base: Base, device: torch.device) -> torch.dtype:
    """Precision that captions are encoded and kept in: float32, unless the text encoder is a heavy one."""
    is_heavy = base.family.heavy_text and device.type == "cuda"
    has_bf16 = is_heavy and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


def load_vae(recipe: Recipe, base: Base) -> Any:
    """The VAE, ready to encode.

    Args:
        base: Any parts of the base.
    """
    vae = load_parts(recipe, "vae", dtype=vae_dtype(base, machine.pick_device())).vae
    if vae.device.type == "cuda":  # the order of its quickest convolutions
        vae.to(memory_format=torch.channels_last)
    return vae


def encode_pictures(jobs: Sequence[EncodeJob], vae: Any, on_event: OnEvent = ignore) -> None:
    """Write the latents of some pictures.

    Raises:
        BaseModelError: If the VAE gives no finite numbers.
        DatasetError: If a picture cannot be decoded.
    """
    done = 0
    with torch.inference_mode(), closing_writes(vae.device) as write:
        for batch, loaded in load_batches(jobs, vae.device):
            pixels = torch.cat([values for values, _ in loaded])
            parts = torch.split(pixels, views_at_once(batch[0], vae.device))
            encoded = [_encode_part(vae, part, on_event) for part in parts]
            mean, std = (torch.cat([one[i] for one in encoded]).float().cpu() for i in (0, 1))
            for number, (job, (_, extra)) in enumerate(zip(batch, loaded, strict=True)):
                views = slice(number * job.num_views, (number + 1) * job.num_views)
                latents = {"mean": mean[views], "std": std[views]}
                _refuse_broken(job, latents)
                write(job.file, latents | extra)
            done += len(batch)
            on_event(Progress(STAGE, done))


def _refuse_broken(job: EncodeJob, latents: Mapping[str, Tensor]) -> None:
    if all(bool(torch.isfinite(one).all()) for one in latents.values()):
        return
    raise BaseModelError(
        "the VAE gives no finite numbers for a picture, even in float32",
        where=str(job.path),
        todo="Take the picture out of the data set, or another VAE with base.vae",
    )


def _encode_part(vae: Any, pixels: Tensor, on_event: OnEvent) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, in float32 where the VAE's lower precision gives no finite numbers."""
    mean, std = _encode_within_memory(vae, pixels, on_event)
    if vae.dtype == torch.float32 or bool(torch.isfinite(mean).all() & torch.isfinite(std).all()):
        return mean, std
    vae.float()
    message = "the VAE gives no finite numbers in bfloat16: from here on pictures are encoded in float32"
    on_event(Notice(STAGE, "vae-float32", message))
    return _encode_within_memory(vae, pixels, on_event)


def _encode_within_memory(vae: Any, pixels: Tensor, on_event: OnEvent) -> tuple[Tensor, Tensor]:
    try:
        return encode_pixels(vae, pixels)
    except RuntimeError as error:
        if vae.use_tiling or not machine.is_out_of_memory(error):
            raise
    machine.hand_back_memory()
    vae.enable_slicing()
    vae.enable_tiling()
    message = "not enough memory for a whole picture: from here on pictures are encoded in overlapping tiles"
    on_event(Notice(STAGE, "vae-tiled", message))
    return encode_pixels(vae, pixels)


def load_texts(recipe: Recipe, base: Base) -> Base:
    """The base with its text encoders.

    Args:
        base: Its tokenizers.
    """
    dtype = text_dtype(base, machine.pick_device())
    return base.with_parts(load_parts(recipe, "text_encoder", dtype=dtype).parts)


def encode_texts(captions: Sequence[str], cache: Path, base: Base) -> None:
    """Write the states of some captions.

    Args:
        base: Tokenizers and text encoders.
    """
    with torch.inference_mode():
        on_cpu = machine.pick_device().type == "cpu"
        dtype = text_dtype(base, machine.pick_device())
        size = 1 if on_cpu else TEXT_BATCH  # one: bits do not depend on company
        for first in range(0, len(captions), size):
            part = captions[first : first + size]
            told = {name: one.to("cpu", dtype) for name, one in encode_prompts(base, part).items()}
            for number, caption in enumerate(part):
                own = {name: one[number] for name, one in told.items()}
                write_tensors(cache / text_file(caption, base), own)


def _prune(cache: Path, index: CacheIndex) -> None:
    used = {index.empty_caption}
    for item in index.items:
        used |= {item.latents, item.text, item.prior_text, *(file for _, file in item.orders)}
    for path in [*cache.glob("latents/*"), *cache.glob("text/*")]:
        if path.relative_to(cache).as_posix() not in used:
            path.unlink()


def _result(
    index: CacheIndex, encoded: int, reshaped: Reshaping, base: Base, on_event: OnEvent
) -> EncodeResult:
    own = [item for item in index.items if item.split != "prior"]
    limit = base.tokenizer.model_max_length
    for item in (item for item in own if item.truncated):
        message = (
            f"the caption of {item.file_name} has {item.tokens} tokens; what comes after {limit} is not read"
        )
        on_event(Notice(STAGE, "caption-truncated", message))
    sizes = Counter(item.bucket for item in own)
    return EncodeResult(
        pictures=len(own),
        held_out=len(index.split("held_out")),
        encoded=encoded,
        reused=len({item.latents for item in index.items}) - encoded,
        truncated=sum(item.truncated for item in own),
        buckets=tuple(sorted(sizes.items())),
        reshaping=reshaped,
    )
