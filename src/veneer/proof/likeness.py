"""Likeness of pictures to the style, to their prompts, to each other: base beside tuned, picture by picture.

The functions take features of pictures of base and tuned model in the same order: pictures of one prompt and
seed stand opposite each other. Features are rows of unit length. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from veneer.intervals import Array, least_share
from veneer.proof.distances import mean_pairwise_distance
from veneer.proof.pairs import View
from veneer.proof.texture import nearness_measure
from veneer.stats import Measure, paired


def style_measure(
    view: View, prompts: Sequence[Hashable], seeds: Sequence[Hashable] | None = None
) -> Measure:
    """Nearness to the style: mean cosine similarity to held-out pictures of it.

    Args:
        view: Features, with at least one held-out picture.

    Returns:
        The measure; higher is better.

    Source: Ruiz et al. 2022, "DreamBooth", section 4.1 (CLIP-I and DINO).
    """
    real = np.vstack([view.held_out, view.training])
    befores, afters = view.base @ real.T, view.tuned @ real.T
    ideal = 1 - mean_pairwise_distance(view.held_out) if len(view.held_out) > 1 else None
    return nearness_measure(befores, afters, len(view.held_out), prompts, seeds=seeds, ideal=ideal)


def prompt_measure(
    base: Array,
    tuned: Array,
    texts: Array,
    prompts: Sequence[Hashable],
    seeds: Sequence[Hashable] | None = None,
) -> Measure:
    """Faithfulness to the prompt: cosine similarity of picture and prompt.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        texts: Features of each picture's prompt, shape (N, D).

    Returns:
        The measure; higher is better.

    Source: Hessel et al. 2021, "CLIPScore", section 3, without its factor 2.5.
    """
    return paired((base * texts).sum(axis=1), (tuned * texts).sum(axis=1), prompts, seeds=seeds)


def style_cost(base: Array, real: Array, texts: Array, captions: Sequence[Hashable]) -> Measure:
    """What the style itself costs the prompt: the true picture of a caption against the base's own.

    Both have the same text, so a style whose texts are harder to show does not look costly.

    Args:
        base: Features of the base's pictures of held-out captions, shape (N, D), N >= 1.
        real: Features of the true picture of each's caption, shape (N, D).
        texts: Features of each's caption, shape (N, D).

    Returns:
        The measure, true pictures in the place of the tuned ones: a fall is the cost.
    """
    return paired((base * texts).sum(axis=1), (real * texts).sum(axis=1), captions, unit="captions")


def prompt_span(pictures: Array, texts: Array, prompts: Sequence[Hashable]) -> float:
    """How much nearer pictures lie to their own prompt than to the other prompts, in cosine similarity.

    A network's similarities have a scale of their own: this is what a whole prompt is worth on it.

    Args:
        pictures: Features, shape (N, D).
        texts: Features of each picture's prompt, shape (N, D).
        prompts: Prompt of each picture, at least two different ones.
    """
    similar = pictures @ texts.T
    is_own = np.array([[one == other for other in prompts] for one in prompts])
    return float(similar.diagonal().mean() - similar[~is_own].mean())


def retrieval_measure(
    base: Array, tuned: Array, texts: Array, own: Sequence[int], prompts: Sequence[Hashable]
) -> Measure:
    """Whether a picture's own prompt is the nearest of all prompts.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        texts: Features of all prompts, shape (P, D), P >= 2.

    Returns:
        The measure, a share in [0, 1]; higher is better.
    """
    first = np.asarray(own)
    before, after = (np.asarray((one @ texts.T).argmax(1) == first, float) for one in (base, tuned))
    return paired(before, after, prompts)


def diversity_measure(base: Array, tuned: Array, prompts: Sequence[Hashable]) -> Measure | None:
    """How much pictures of one prompt differ between seeds: mean pairwise cosine distance.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).

    Returns:
        The measure over prompts with at least two seeds, and how much of it is kept at least; None where
        there is none. Higher is better.
    """
    rows: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    groups = {prompt: members for prompt, members in rows.items() if len(members) > 1}
    if not groups:
        return None
    befores, afters = (
        np.array([mean_pairwise_distance(side[members]) for members in groups.values()])
        for side in (base, tuned)
    )
    return replace(paired(befores, afters, list(groups)), kept=least_share(befores, afters))


def drift_measure(base: Array, tuned: Array, prompts: Sequence[Hashable]) -> Measure:
    """Distance of tuned pictures from the base's own, on prompts that have nothing to do with the style.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).

    Returns:
        The measure: the base's distance to itself is 0; lower is better.
    """
    distance = 1 - (base * tuned).sum(axis=1).clip(-1, 1)
    return paired(np.zeros(len(base)), np.where(distance < 1e-6, 0.0, distance), prompts, better="lower")


def loss_measure(base: Sequence[float], tuned: Sequence[float]) -> Measure:
    """Held-out loss of base and chosen checkpoint.

    Args:
        base: Loss of the base on each held-out picture, or one mean over all.
        tuned: The same for the chosen checkpoint.

    Returns:
        The measure; lower is better. With one mean there is no interval.
    """
    return paired(base, tuned, range(len(base)), better="lower", unit="held-out pictures")
