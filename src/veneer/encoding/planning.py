"""What a run's cache will hold, told from pictures, captions and settings before anything is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from veneer import machine
from veneer.config import Recipe
from veneer.encoding import STAGE
from veneer.encoding.buckets import MUCH_CUT, Reshaping, bucket_for, reshaping
from veneer.encoding.jobs import EncodeJob, make_job
from veneer.encoding.split import Picture, read_pictures
from veneer.encoding.tags import in_forms
from veneer.encoding.wordings import wordings
from veneer.events import Notice, OnEvent, ignore
from veneer.lora.textual_inversion import refuse_words
from veneer.models.base import Base, load_base_of, token_count
from veneer.models.families.fit import refuse_beyond
from veneer.records.cache import CachedItem, CacheIndex, content_key, is_whole
from veneer.records.run import RunDir

SMALL_SHARE = 0.75
"""Share of a base's own size below which some families learn and draw badly."""


@dataclass(frozen=True)
class EncodePlan:
    """All that a run's cache will hold, and what of it is missing.

    Attributes:
        base: Its tokenizers alone.
        index: The cache's index once all is there.
        todo: Pictures whose latents are missing, each once.
        texts: Every caption, sorted.
        reshaped: What resizing and cropping do.
    """

    cache: Path
    base: Base
    index: CacheIndex
    todo: tuple[EncodeJob, ...]
    texts: tuple[str, ...]
    reshaped: Reshaping

    def texts_to_do(self, texts: Sequence[str]) -> list[str]:
        """Which of some captions have no states yet."""
        return [text for text in texts if not is_whole(self.cache / text_file(text, self.base))]


def plan_encoding(run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> EncodePlan:
    """Look at a run's pictures and captions, and at what the cache holds of them.

    Raises:
        DatasetError: If there are fewer than 4 pictures, or captions or pictures cannot be used.
        BaseModelError: If the base cannot be loaded.
    """
    pictures = in_forms(read_pictures(run, recipe, on_event), recipe.encode)
    base = load_parts(recipe, "tokenizer", on_event)
    refuse_words(recipe.lora, base.family)
    refuse_beyond(recipe, base.family)
    _warn_of_resolution(recipe, base, on_event)
    jobs = [make_job(picture, run.cache, recipe, base) for picture in pictures]
    reshaped = _reshaping(pictures, jobs, recipe, base)
    _notify_reshaping(reshaped, recipe, base.size_multiple, on_event)
    todo = {job.file: job for job in jobs if not is_whole(job.file)}
    items = [
        _item(picture, job, run.cache, recipe, base) for picture, job in zip(pictures, jobs, strict=True)
    ]
    texts = tuple(_texts(pictures, recipe))
    index = _index(items, run.cache, recipe, base)
    return EncodePlan(run.cache, base, index, tuple(todo.values()), texts, reshaped)


def load_parts(
    recipe: Recipe, part: str, on_event: OnEvent = ignore, dtype: torch.dtype = torch.float32
) -> Base:
    """A part of a recipe's base, on this process's device."""
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
        text=text_file(picture.item.caption, base),
        tokens=tokens,
        truncated=tokens > base.tokenizer.model_max_length,
        orders=tuple((one, text_file(one, base)) for one in wordings(picture, recipe)),
        prior_text=text_file(plain_caption(picture.item.caption, recipe), base) if prior else "",
    )


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


def text_file(caption: str, base: Base) -> str:
    """Where the states of a caption lie in the cache, by all that they depend on."""
    return f"text/{content_key('text-1', caption, base.fingerprint)}.safetensors"


def _texts(pictures: Sequence[Picture], recipe: Recipe) -> list[str]:
    captions = {"", *(picture.item.caption for picture in pictures)}
    captions |= {one for picture in pictures for one in wordings(picture, recipe)}
    if uses_prior_prediction(recipe):
        captions |= {plain_caption(picture.item.caption, recipe) for picture in pictures}
    return sorted(captions)


def _index(items: Sequence[CachedItem], cache: Path, recipe: Recipe, base: Base) -> CacheIndex:
    return CacheIndex(
        base=base.fingerprint,
        vae_factor=base.vae_factor,
        native_px=base.native_px,
        prediction_type=base.prediction_type,
        empty_caption=text_file("", base),
        crops=recipe.encode.variants,
        mirrored=recipe.encode.flip > 0,
        items=tuple(items),
    )


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
