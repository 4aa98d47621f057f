"""The measures of a comparison, from features of pictures and texts: pure numpy.

Every function takes pictures of base and tuned model in the same order: pictures of one prompt and seed stand
opposite each other. Features are rows of unit length.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from veneer.proof.distances import mean_pairwise_distance, nearest
from veneer.stats import Array, Measure, paired

COPY_QUANTILE = 0.95
"""Share of training pictures whose own nearest neighbour is less alike than the threshold."""
MIN_TRAINING_PICTURES = 4


@dataclass(frozen=True)
class Copy:
    """A tuned picture beside the training picture that it resembles most.

    Attributes:
        picture: Index of the tuned picture.
        training: Index of the training picture.
        similarity: Cosine similarity of the two, in [-1, 1].
        is_copy: Whether it is above the threshold.
    """

    picture: int
    training: int
    similarity: float
    is_copy: bool


@dataclass(frozen=True)
class Memorisation:
    """How many pictures are nearer to a training picture than training pictures are to each other.

    Attributes:
        measure: Share of such pictures, base and tuned; lower is better.
        threshold: Cosine similarity above which a picture counts.
        nearest: The nearest training picture of every tuned picture, most alike first.
    """

    measure: Measure
    threshold: float
    nearest: tuple[Copy, ...]

    @property
    def num_copies(self) -> int:
        """Tuned pictures above the threshold."""
        return sum(copy.is_copy for copy in self.nearest)


def style_measure(base: Array, tuned: Array, held_out: Array, prompts: Sequence[Hashable]) -> Measure:
    """Nearness to the style: mean cosine similarity to held-out pictures of it.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        held_out: Features of pictures that training never saw, shape (H, D), H >= 1.
        prompts: Prompt of each picture.

    Returns:
        The measure; higher is better.

    Source: Ruiz et al. 2022, "DreamBooth", section 4.1 (CLIP-I and DINO).
    """
    return paired((base @ held_out.T).mean(axis=1), (tuned @ held_out.T).mean(axis=1), prompts)


def prompt_measure(base: Array, tuned: Array, texts: Array, prompts: Sequence[Hashable]) -> Measure:
    """Faithfulness to the prompt: cosine similarity of picture and prompt.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        texts: Features of each picture's prompt, shape (N, D).
        prompts: Prompt of each picture.

    Returns:
        The measure; higher is better.

    Source: Hessel et al. 2021, "CLIPScore", section 3, without its factor 2.5.
    """
    return paired((base * texts).sum(axis=1), (tuned * texts).sum(axis=1), prompts)


def true_fidelity(pictures: Array, captions: Array) -> float | None:
    """What the prompt measure gives true pictures of the style, where the embedder knows what they show.

    Pictures whose own caption is not the nearest of all are left out: a caption that is wrong says nothing of
    what the style costs.

    Args:
        pictures: Features of the pictures, shape (T, D).
        captions: Features of their captions, shape (T, D).

    Returns:
        Mean cosine similarity of picture and own caption, in [-1, 1]; None where no picture is known.
    """
    likeness = pictures @ captions.T
    own = likeness.diagonal()
    found = own >= likeness.max(axis=1) - 1e-6  # equal captions are as near as each other
    return float(own[found].mean()) if found.any() else None


def retrieval_measure(
    base: Array, tuned: Array, texts: Array, own: Sequence[int], prompts: Sequence[Hashable]
) -> Measure:
    """Whether a picture's own prompt is the nearest of all prompts.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        texts: Features of all prompts, shape (P, D), P >= 2.
        own: Which of them is each picture's own.
        prompts: Prompt of each picture.

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
        prompts: Prompt of each picture.

    Returns:
        The measure over prompts with at least two seeds; None where there is none. Higher is better.
    """
    rows: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    groups = {prompt: members for prompt, members in rows.items() if len(members) > 1}
    if not groups:
        return None
    befores = [mean_pairwise_distance(base[members]) for members in groups.values()]
    afters = [mean_pairwise_distance(tuned[members]) for members in groups.values()]
    return paired(befores, afters, list(groups))


def drift_measure(base: Array, tuned: Array, prompts: Sequence[Hashable]) -> Measure:
    """Distance of tuned pictures from the base's own, on prompts that have nothing to do with the style.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        prompts: Prompt of each picture.

    Returns:
        The measure: the base's distance to itself is 0; lower is better.
    """
    distance = 1 - (base * tuned).sum(axis=1).clip(-1, 1)
    return paired(np.zeros(len(base)), np.where(distance < 1e-6, 0.0, distance), prompts, better="lower")


def copy_threshold(training: Array) -> float:
    """Similarity above which a picture is nearer to a training picture than these are to each other.

    Args:
        training: Features of the training pictures, shape (T, D), T >= `MIN_TRAINING_PICTURES`.

    Returns:
        The 95 % quantile of their similarity to their own nearest neighbour.

    Source: Somepalli et al. 2023, "Diffusion Art or Digital Forgery?", section 5.
    """
    return float(np.quantile(nearest(training, training, leave_self_out=True)[1], COPY_QUANTILE))


def memorisation(
    base: Array, tuned: Array, training: Array, prompts: Sequence[Hashable]
) -> Memorisation | None:
    """Look for copies of training pictures.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        training: Features of the training pictures, shape (T, D).
        prompts: Prompt of each picture.

    Returns:
        What was found; None with fewer than `MIN_TRAINING_PICTURES` training pictures.
    """
    if len(training) < MIN_TRAINING_PICTURES:
        return None
    threshold = copy_threshold(training)
    index, similarity = nearest(tuned, training)
    before = nearest(base, training)[1]
    copies = [
        Copy(row, int(index[row]), float(similarity[row]), bool(similarity[row] > threshold))
        for row in np.argsort(-similarity)
    ]
    was, is_ = (np.asarray(one > threshold, float) for one in (before, similarity))
    measure = paired(was, is_, prompts, better="lower")
    return Memorisation(measure, threshold, tuple(copies))


def loss_measure(base: Sequence[float], tuned: Sequence[float]) -> Measure:
    """Held-out loss of base and chosen checkpoint.

    Args:
        base: Loss of the base on each held-out picture, or one mean over all.
        tuned: The same for the chosen checkpoint.

    Returns:
        The measure; lower is better. With one mean there is no interval.
    """
    return paired(base, tuned, range(len(base)), better="lower", unit="held-out pictures")


def smoothness(pixels: np.ndarray[Any, Any]) -> float:
    """How much a pixel tells of its neighbour: 1 for a flat picture, about 0 for noise.

    Args:
        pixels: Grey values, shape (H, W), of any range.

    Returns:
        Correlation of neighbouring pixels, in [-1, 1].
    """
    grey = np.asarray(pixels, float)
    grey = grey - grey.mean()
    power = float((grey**2).mean())
    if power == 0:
        return 1.0
    return float(((grey[:, 1:] * grey[:, :-1]).mean() + (grey[1:] * grey[:-1]).mean()) / 2 / power)
