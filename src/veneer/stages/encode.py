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
from veneer.encoding.buckets import MUCH_CUT, Reshaping, bucket_for, reshaping
from veneer.encoding.jobs import (
    EncodeJob,
    closing_writes,
    load_batches,
    make_job,
    views_at_once,
)
from veneer.encoding.split import Picture, read_pictures
from veneer.encoding.tags import in_forms, tag_orders
from veneer.errors import BaseModelError
from veneer.events import Notice, OnEvent, Progress, StageStarted, ignore
from veneer.lora.textual_inversion import refuse_words
from veneer.models.base import Base, encode_pixels, encode_prompts, load_base_of, token_count
from veneer.models.families.fit import refuse_beyond
from veneer.notebook import in_notebook
from veneer.records.cache import CachedItem, CacheIndex, content_key, is_whole, write_tensors
from veneer.records.run import AnyRun, opened
from veneer.training.checkpoints import as_run_error

TEXT_BATCH = 16
SMALL_SHARE = 0.75
"""Share of a base's own size below which some families learn and draw badly."""


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
    pictures = read_pictures(run, recipe, on_event)
    pictures = in_forms(pictures, recipe.encode)
    base = _load(recipe, "tokenizer", on_event)
    refuse_words(recipe.lora, base.family)
    refuse_beyond(recipe, base.family)
    _warn_of_resolution(recipe, base, on_event)
    jobs = [make_job(picture, run.cache, recipe, base) for picture in pictures]
    reshaped = _reshaping(pictures, jobs, recipe, base)
    _notify_reshaping(reshaped, recipe, base.size_multiple, on_event)
    todo = list({job.file: job for job in jobs if not is_whole(job.file)}.values())
    items = [
        _item(picture, job, run.cache, recipe, base) for picture, job in zip(pictures, jobs, strict=True)
    ]
    index = _index(items, run.cache, recipe, base)
    processes.wait_for_everyone()  # all have looked for what is there before one adds to it
    with as_run_error(run.cache):
        _encode_pictures(processes.shard(todo), recipe, vae_dtype(base, machine.pick_device()), on_event)
        machine.hand_back_memory()
        _encode_texts(_texts(pictures, recipe), run.cache, recipe, base)
        processes.wait_for_everyone()
        if processes.is_main_process():
            index.write(run.cache_index)
            _prune(run.cache, index)
    processes.wait_for_everyone()
    return _result(index, len(todo), reshaped, base, on_event)


run = encode
"""The stage, as the pipeline calls it."""


def _load(recipe: Recipe, part: str, on_event: OnEvent = ignore, dtype: torch.dtype = torch.float32) -> Base:
    return load_base_of(
        recipe.base,
        dtype=dtype,
        device=machine.pick_device(),
        parts=(part,),
        on_event=on_event,
    )


def _warn_of_resolution(recipe: Recipe, base: Base, on_event: OnEvent) -> None:
    wanted, native = recipe.encode.resolution, base.native_px
    multiple = base.size_multiple
    if wanted < SMALL_SHARE * native and not base.family.trains_small:
        message = (
            f"encode.resolution = {wanted} px, but {base.family.label} was trained at {native} px and draws "
            f"badly at much less: set encode.resolution = {native} where memory allows it"
        )
        on_event(Notice(STAGE, "below-native-resolution", message))
    if wanted > native:
        message = (
            f"encode.resolution = {wanted} px, but this base was trained at {native} px: pictures drawn at "
            f"{wanted} px may repeat their subject. Train at {native}, or draw with generate.two_pass = true"
        )
        on_event(Notice(STAGE, "above-native-resolution", message))
    if wanted % multiple:
        message = (
            f"encode.resolution = {wanted} px is rounded down: the base needs a multiple of {multiple} px"
        )
        on_event(Notice(STAGE, "resolution-rounded", message))


def _item(picture: Picture, job: EncodeJob, cache: Path, recipe: Recipe, base: Base) -> CachedItem:
    word = " a" * recipe.lora.embedding_vectors  # as many tokens as a learnt word will have
    caption = picture.item.caption
    if recipe.lora.embedding_token:
        caption = caption.replace(recipe.lora.embedding_token, word)
    tokens = token_count(base.tokenizer, caption)
    prior = uses_prior_prediction(recipe) and picture.split == "train"
    return CachedItem(
        file_name=picture.item.file_name,
        caption=picture.item.caption,
        sha256=picture.sha256,
        split=picture.split,
        bucket=job.bucket,
        latents=job.file.relative_to(cache).as_posix(),
        text=_text_file(picture.item.caption, base),
        tokens=tokens,
        truncated=tokens > base.tokenizer.model_max_length,
        orders=tuple((one, _text_file(one, base)) for one in _orders(picture, recipe)),
        prior_text=_text_file(plain_caption(picture.item.caption, recipe), base) if prior else "",
    )


def _orders(picture: Picture, recipe: Recipe) -> tuple[str, ...]:
    return tag_orders(picture, recipe.encode, recipe.train.seed)


def uses_prior_prediction(recipe: Recipe) -> bool:
    """Whether the untuned prediction is the prior: a weight is given, and no pictures."""
    return recipe.train.prior_loss_weight > 0 and not recipe.train.prior_sources


def plain_caption(caption: str, recipe: Recipe) -> str:
    """A caption without what calls the style: its trigger and its prefix.

    Returns:
        The rest; empty where nothing calls the style in particular.
    """
    rest = caption.removeprefix(recipe.caption.trigger).lstrip(" ,")
    rest = rest.removeprefix(recipe.caption.prefix).strip(" ,")
    return "" if rest == caption else rest


def _text_file(caption: str, base: Base) -> str:
    return f"text/{content_key('text-1', caption, base.fingerprint)}.safetensors"


def _texts(pictures: Sequence[Picture], recipe: Recipe) -> list[str]:
    captions = {"", *(picture.item.caption for picture in pictures)}
    captions |= {one for picture in pictures for one in _orders(picture, recipe)}
    if uses_prior_prediction(recipe):
        captions |= {plain_caption(picture.item.caption, recipe) for picture in pictures}
    return sorted(captions)


def _index(items: Sequence[CachedItem], cache: Path, recipe: Recipe, base: Base) -> CacheIndex:
    return CacheIndex(
        base=base.fingerprint,
        vae_factor=base.vae_factor,
        native_px=base.native_px,
        prediction_type=base.prediction_type,
        empty_caption=_text_file("", base),
        crops=recipe.encode.variants,
        mirrored=recipe.encode.flip > 0,
        items=tuple(items),
    )


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


def _encode_pictures(
    jobs: Sequence[EncodeJob], recipe: Recipe, dtype: torch.dtype, on_event: OnEvent
) -> None:
    on_event(StageStarted(STAGE, len(jobs), "pictures"))
    if not jobs:
        return
    vae = _load(recipe, "vae", dtype=dtype).vae
    if vae.device.type == "cuda":  # the order of its quickest convolutions
        vae.to(memory_format=torch.channels_last)
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


def _encode_texts(captions: Sequence[str], cache: Path, recipe: Recipe, base: Base) -> None:
    mine = processes.shard(captions)  # cut first: the others write while this process looks
    share = [caption for caption in mine if not is_whole(cache / _text_file(caption, base))]
    if not share:
        return
    dtype = text_dtype(base, machine.pick_device())
    base = base.with_parts(_load(recipe, "text_encoder", dtype=dtype).parts)
    with torch.inference_mode():
        on_cpu = machine.pick_device().type == "cpu"
        size = 1 if on_cpu else TEXT_BATCH  # one: bits do not depend on company
        for first in range(0, len(share), size):
            part = share[first : first + size]
            told = {name: one.to("cpu", dtype) for name, one in encode_prompts(base, part).items()}
            for number, caption in enumerate(part):
                own = {name: one[number] for name, one in told.items()}
                write_tensors(cache / _text_file(caption, base), own)


def _prune(cache: Path, index: CacheIndex) -> None:
    used = {index.empty_caption}
    for item in index.items:
        used |= {item.latents, item.text, item.prior_text, *(file for _, file in item.orders)}
    for path in [*cache.glob("latents/*"), *cache.glob("text/*")]:
        if path.relative_to(cache).as_posix() not in used:
            path.unlink()


def _reshaping(
    pictures: Sequence[Picture], jobs: Sequence[EncodeJob], recipe: Recipe, base: Base
) -> Reshaping:
    table, multiple = recipe.encode, base.size_multiple

    def large(size: tuple[int, int]) -> tuple[int, int]:
        return bucket_for(size, table.resolution, multiple, aspects=table.buckets, upscale=True)

    own = [(p.size, job.bucket) for p, job in zip(pictures, jobs, strict=True) if p.split != "prior"]
    return reshaping((size, bucket, large(size)) for size, bucket in own)


def _notify_reshaping(shape: Reshaping, recipe: Recipe, multiple: int, on_event: OnEvent) -> None:
    if shape.much_cut:
        todo = "" if recipe.encode.buckets else ". encode.buckets = true keeps aspect ratios"
        message = (
            f"{shape.much_cut} of {shape.pictures} pictures lose over {MUCH_CUT:.0%} of their pixels to "
            f"cropping; of all pixels {shape.cut_percent:.1f} % are thrown away{todo}"
        )
        on_event(Notice(STAGE, "much-cropped", message))
    if shape.smaller:
        message = (
            f"{shape.smaller} of {shape.pictures} pictures are smaller than {recipe.encode.resolution} px "
            "and trained at a smaller size. encode.upscale = true enlarges them; `veneer check` lists them"
        )
        on_event(Notice(STAGE, "below-resolution", message))
    if shape.enlarged:
        why = (
            "" if recipe.encode.upscale else f": they are below {multiple} px, the least that the base takes"
        )
        message = f"{shape.enlarged} of {shape.pictures} pictures are enlarged{why}"
        on_event(Notice(STAGE, "enlarged", message))


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
