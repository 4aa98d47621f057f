"""Pictures drawn while training, at fixed prompts and seeds: to be looked at, or to choose by their style.

Previews lie in RUN/train/previews/step-000100/P-SEED.png. They are few, and drawn in few steps, so that they
can be left on; and training never fails by one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

from accelerate import Accelerator

from veneer import processes
from veneer.config import Recipe
from veneer.encoding.choosing import choosing, choosing_jobs
from veneer.events import OnEvent, PreviewEvent
from veneer.kernels.cudnn import trying
from veneer.models.base import assemble, load_base_of
from veneer.models.embedder import choose_embedders
from veneer.models.sampling import Sample, Sampler, sample
from veneer.records.cache import CacheIndex
from veneer.records.files import write_bytes
from veneer.records.run import RunDir
from veneer.training.network import Network

Preview = Callable[[int], None]
Style = Callable[[], float]
MAX_PROMPTS = 2
MAX_INFERENCE_STEPS = 8
"""Denoising steps of a preview: enough to see where training goes; the samples are drawn in full."""


def preview_maker(
    run: RunDir, recipe: Recipe, network: Network, accelerator: Accelerator, on_event: OnEvent
) -> Preview:
    """Make the function that draws previews; VAE and text encoder are in memory only while it draws.

    Args:
        recipe: The resolved recipe; its first prompts, first seed and sampler are used, in few steps.

    Returns:
        A function of the step.
    """
    prompts = recipe.generate.prompts[:MAX_PROMPTS]
    jobs = list(enumerate(prompts))

    def preview(step: int) -> None:
        sampler = in_few_steps(_sampler(recipe, network, accelerator))
        share = processes.shard(jobs)
        seed = recipe.generate.seeds[0]
        drawn = _draw(sampler, network, accelerator, [(prompt, seed) for _, prompt in share])
        for (number, _), one in zip(share, drawn, strict=True):
            path = run.previews / f"step-{step:06d}" / f"{number:03d}-{seed}.png"
            png = io.BytesIO()
            one.image.save(png, "PNG")
            write_bytes(path, png.getvalue())
            on_event(PreviewEvent(step, path))

    return preview


def in_few_steps(sampler: Sampler) -> Sampler:
    """The same sampler, drawing in few steps."""
    steps = min(sampler.table.num_inference_steps, MAX_INFERENCE_STEPS)
    return replace(sampler, table=sampler.table.model_copy(update={"num_inference_steps": steps}))


def style_scorer(
    run: RunDir, recipe: Recipe, network: Network, accelerator: Accelerator, index: CacheIndex
) -> Style | None:
    """Make the function that measures style: likeness of drawn pictures to the held-out ones that choose.

    Args:
        recipe: The resolved recipe; its sampler and embedder are used.
        index: What is held out; `veneer.encoding.choosing` says which of it chooses.

    Returns:
        A function that gives the mean cosine similarity, in [-1, 1]; None where style does not choose.

    Raises:
        RecipeError: If fewer than two pictures are held out.

    Source: Ruiz et al. 2023, "DreamBooth", section 4.1 (CLIP-I and DINO), on pictures never trained on.
    """
    if recipe.train.choose != "style":
        return None
    pictures, jobs = choosing(index), choosing_jobs(index, recipe)
    embedder = choose_embedders(recipe.compare.embedder, recipe.base.model, accelerator.device).pictures
    references = embedder.image_features([run.dataset / item.file_name for item in pictures])

    def style() -> float:
        share = processes.shard(jobs)
        drawn = _draw(_sampler(recipe, network, accelerator), network, accelerator, share)
        likeness = embedder.image_features([one.image for one in drawn]) @ references.T if drawn else None
        total = 0.0 if likeness is None else float(likeness.mean(axis=1).sum())
        return processes.share_numbers([total])[0] / len(jobs)

    return style


def _draw(
    sampler: Sampler, network: Network, accelerator: Accelerator, jobs: Sequence[tuple[str, int]]
) -> list[Sample]:
    network.train(False)
    try:
        with accelerator.autocast(), trying(False):
            return list(sample(sampler, jobs))
    finally:
        network.train()


def _sampler(recipe: Recipe, network: Network, accelerator: Accelerator) -> Sampler:
    loaded = load_base_of(
        recipe.base,
        dtype=network.dtype,
        device=accelerator.device,
        parts=("tokenizer", "text_encoder", "vae", "scheduler"),
    )
    base = loaded.with_parts({loaded.family.denoiser: network.unet})
    if network.text is not None:
        base = base.with_parts(
            {k: v for k, v in network.text.base.parts.items() if k in base.family.text_parts}
        )
    side = recipe.generate.resolution or recipe.encode.resolution
    return Sampler(
        family=base.family,
        pipeline=assemble(base, recipe.generate.scheduler),
        native_px=base.native_px,
        source="",
        fingerprint="",
        table=recipe.generate,
        side_px=side,
    )
