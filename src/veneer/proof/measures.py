"""The measures of a comparison as one table, `MEASURES`, and the functions that take them.

Whatever names a measure reads its row: the comparison, the verdict, the report's words, `metrics.json`'s
contract, the studio's columns and the table of docs/verdict.md. A new measure is one more row.

The functions take features of pictures of base and tuned model in the same order: pictures of one prompt and
seed stand opposite each other. Features are rows of unit length. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from veneer.proof.distances import kernel_distances, mean_pairwise_distance, nearest
from veneer.proof.pairs import View, grey_values
from veneer.proof.texture import nearness_measure, texture_measure
from veneer.stats import Array, Better, Measure, paired

if TYPE_CHECKING:
    from veneer.proof.evidence import Evidence

COPY_QUANTILE = 0.98
"""Share of training pictures whose own nearest neighbour is less alike than the threshold."""
SAME_PICTURE = 0.1
"""Part of the median distance of training pictures below which two of them are the same picture twice."""
MIN_TRAINING_PICTURES = 4
SMALL_WORDS = frozenset({"a", "an", "the", "of", "in", "on", "with", "and", "at", "to", "is"})


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

    Returns:
        The measure: the base's distance to itself is 0; lower is better.
    """
    distance = 1 - (base * tuned).sum(axis=1).clip(-1, 1)
    return paired(np.zeros(len(base)), np.where(distance < 1e-6, 0.0, distance), prompts, better="lower")


def copy_threshold(training: Array) -> float:
    """Similarity above which a picture is nearer to a training picture than two of these are to each other.

    The same picture twice in the training set must not hide copies of it: neighbours nearer than
    `SAME_PICTURE` of the usual distance are left out.

    Args:
        training: Features of the training pictures, shape (T, D), T >= `MIN_TRAINING_PICTURES`.

    Returns:
        The `COPY_QUANTILE` of the similarities to the nearest neighbour that is another picture.

    Source: Somepalli et al. 2023, "Diffusion Art or Digital Forgery?", section 5.
    """
    distances = 1 - training @ training.T
    usual = float(np.median(distances[np.triu_indices(len(training), 1)]))
    distances[distances < SAME_PICTURE * usual] = np.inf  # itself among them
    nearest_others = distances.min(axis=1)
    known = nearest_others[np.isfinite(nearest_others)]
    closest = float(np.quantile(known, 1 - COPY_QUANTILE)) if len(known) else 0.0
    return 1 - max(closest, SAME_PICTURE * usual)


def memorisation(
    base: Array, tuned: Array, training: Array, prompts: Sequence[Hashable]
) -> Memorisation | None:
    """Look for copies of training pictures.

    Args:
        base: Features of the base's pictures, shape (N, D).
        tuned: Features of the tuned model's, shape (N, D).
        training: Features of the training pictures, shape (T, D).

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


def mean_smoothness(training: Sequence[Path]) -> float | None:
    """How much a pixel of the training pictures tells of its neighbour.

    Returns:
        Mean correlation of neighbouring pixels, in [-1, 1]; None without pictures.
    """
    if not training:
        return None
    return float(np.mean([smoothness(grey_values(path)) for path in training]))


def style_word_share(prompts: Sequence[str], captions: Sequence[str]) -> float | None:
    """How many captions have a word that every prompt has: the words that should call the style.

    Args:
        prompts: The recipe's prompts.
        captions: Captions of the training pictures.

    Returns:
        A share in [0, 1]; None with fewer than two different prompts, or no caption.
    """
    if len(set(prompts)) < 2 or not captions:
        return None
    shared = set.intersection(*(_words(prompt) for prompt in prompts))
    return float(np.mean([bool(shared & _words(caption)) for caption in captions]))


def _words(text: str) -> set[str]:
    return set(text.lower().replace(",", " ").split()) - SMALL_WORDS


@dataclass(frozen=True)
class Spec:
    """One measure: a row of the table.

    Attributes:
        name: Its key in metrics.json.
        label: Its name for people.
        question: What it answers.
        unit: What its numbers are.
        prompts: Which prompts it looks at: those that call the style, those that do not, or none.
        of: The measure from the evidence of those prompts, or the reason why there is none.
        more: Word for a larger value, such as "nearer".
        less: Word for a smaller value.
        digits: Decimal places shown.
        is_contract: Whether metrics.json always has it, and the studio a column.
        is_optional: Whether it is left out, not called missing, where it cannot be had.
        is_distance: Whether it is a distance from the base, which every tuned model has.
        style_view: How a reason calls it among the views of style; None where it is none of them.
    """

    name: str
    label: str
    question: str
    unit: str
    better: Better
    prompts: Literal["styled", "general", "none"]
    of: Callable[[Evidence], Measure | str]
    more: str
    less: str
    digits: int = 3
    is_contract: bool = False
    is_optional: bool = False
    is_distance: bool = False
    style_view: str | None = None


NO_PICTURES = "the run holds no pictures out"
NO_PROMPT = "no prompt calls the style"
NO_TEXT = "the embedder reads no text"
NO_GENERAL = "compare.general_prompts is empty"
ONE_MODEL = "one embedder is named"


def _style(seen: Evidence) -> Measure | str:
    return _style_through(seen.pictures, seen)


def _style_second(seen: Evidence) -> Measure | str:
    return ONE_MODEL if seen.second is None else _style_through(seen.second, seen)


def _style_through(view: View, seen: Evidence) -> Measure | str:
    if not seen.prompts:
        return NO_PROMPT
    if not len(view.held_out):
        return NO_PICTURES
    return style_measure(view, seen.prompts, seen.seeds)


def _texture(seen: Evidence) -> Measure | str:
    if seen.texture is None or not seen.prompts:
        return NO_PICTURES
    return texture_measure(seen.texture, seen.prompts, seen.seeds)


def _kernel(seen: Evidence) -> Measure | str:
    view = seen.pictures
    if min(len(seen.prompts), len(view.held_out)) < 2:
        return "a distance of sets needs two pictures in each"
    return kernel_distances(view.base, view.tuned, view.held_out, seen.prompts)


def _prompt(seen: Evidence) -> Measure | str:
    view = seen.pictures
    if view.texts is None:
        return NO_TEXT
    if not seen.prompts:
        return NO_PROMPT
    return prompt_measure(view.base, view.tuned, view.texts, seen.prompts, seen.seeds)


def _retrieval(seen: Evidence) -> Measure | str:
    if seen.known_texts is None:
        return NO_TEXT
    if not seen.prompts:
        return NO_PROMPT
    if len(seen.known_texts) < 2:
        return "there is no second prompt to tell it from"
    view = seen.pictures
    return retrieval_measure(view.base, view.tuned, seen.known_texts, seen.own_text, seen.prompts)


def _diversity(seen: Evidence) -> Measure | str:
    measure = diversity_measure(seen.pictures.base, seen.pictures.tuned, seen.prompts)
    return "no prompt was drawn with two seeds" if measure is None else measure


def _memorisation(seen: Evidence) -> Measure | str:
    found = find_copies(seen)
    few = f"fewer than {MIN_TRAINING_PICTURES} training pictures are known"
    return few if found is None else found.measure


def find_copies(seen: Evidence) -> Memorisation | None:
    """Look for copies among the pictures of some prompts; None where that cannot be told."""
    view = seen.copies
    return memorisation(view.base, view.tuned, view.training, seen.prompts) if seen.prompts else None


def _forgetting(seen: Evidence) -> Measure | str:
    if not seen.prompts:
        return NO_GENERAL
    return drift_measure(seen.pictures.base, seen.pictures.tuned, seen.prompts)


def _general_prompt(seen: Evidence) -> Measure | str:
    return _prompt(seen) if seen.prompts else NO_GENERAL


def _loss(seen: Evidence) -> Measure | str:
    return NO_PICTURES if seen.losses is None else loss_measure(*seen.losses)


MEASURES: tuple[Spec, ...] = (
    Spec(
        "style",
        "Style",
        "How near do the pictures come to held-out pictures of the style? Cosine similarity, 1 is the same.",
        "mean cosine similarity to the held-out pictures (CLIP-I; DINO where no CLIP is named)",
        "higher",
        "styled",
        _style,
        "nearer to the style",
        "further from the style",
        is_contract=True,
        style_view="",
    ),
    Spec(
        "style_dino",
        "Style, second model",
        "How near do they come through DINO, which looks at form rather than meaning?",
        "the same through DINO, where both are named",
        "higher",
        "styled",
        _style_second,
        "nearer to the style",
        "further from the style",
        is_optional=True,
        style_view="DINO ",
    ),
    Spec(
        "style_texture",
        "Style, texture",
        "How near do edges, flats and colour steps come to those of held-out pictures? Whatever is shown.",
        "the same through statistics of differences between near pixels, which do not care what is shown",
        "higher",
        "styled",
        _texture,
        "nearer in texture",
        "further in texture",
        style_view="texture ",
    ),
    Spec(
        "style_kid",
        "Style, as a set",
        "How far is the whole set from the held-out pictures? Kernel distance, 0 is the same.",
        "kernel distance of the whole set to the held-out pictures, unbiased estimator",
        "lower",
        "styled",
        _kernel,
        "further as a set",
        "nearer as a set",
        digits=4,
    ),
    Spec(
        "prompt",
        "Prompt",
        "How well do the pictures show what the prompt says? Cosine similarity of picture and prompt.",
        "cosine similarity of picture and prompt (CLIP-T, without CLIPScore's factor)",
        "higher",
        "styled",
        _prompt,
        "truer to the prompt",
        "less true to the prompt",
        is_contract=True,
    ),
    Spec(
        "retrieval",
        "Subject found",
        "For which share of the pictures is their own prompt the nearest of all prompts?",
        "share of pictures whose own prompt is the nearest of all prompts in the set",
        "higher",
        "styled",
        _retrieval,
        "found more often",
        "found less often",
    ),
    Spec(
        "diversity",
        "Diversity",
        "How much do pictures of one prompt differ between seeds? Mean cosine distance.",
        "mean cosine distance between the seeds of a prompt",
        "higher",
        "styled",
        _diversity,
        "more varied",
        "less varied",
        is_contract=True,
    ),
    Spec(
        "memorisation",
        "Copies",
        "Which share of the pictures is nearer to a training picture than those are to each other?",
        "share of pictures nearer to a training picture than the threshold below",
        "lower",
        "styled",
        _memorisation,
        "more copies",
        "fewer copies",
        is_contract=True,
    ),
    Spec(
        "forgetting",
        "Drift",
        "How far do prompts outside the style move away from the base's own pictures? 0 is not at all.",
        "cosine distance to the base's own picture on general prompts; the base's is 0",
        "lower",
        "general",
        _forgetting,
        "moved away",
        "moved nearer",
        is_contract=True,
        is_distance=True,
    ),
    Spec(
        "general_prompt",
        "Prompt, outside the style",
        "How well are prompts followed that have nothing to do with the style?",
        "`prompt`, on general prompts",
        "higher",
        "general",
        _general_prompt,
        "truer to the prompt",
        "less true to the prompt",
        is_optional=True,
    ),
    Spec(
        "validation_loss",
        "Held-out loss",
        "How well does the model predict the noise in held-out pictures? Lower is better.",
        "held-out loss of the base and of the chosen checkpoint, picture by picture",
        "lower",
        "none",
        _loss,
        "predicted worse",
        "predicted better",
        digits=4,
        is_contract=True,
    ),
)
"""Every measure, in the order of the report."""

CONTRACT = tuple(spec.name for spec in MEASURES if spec.is_contract)
"""Measures that metrics.json always has, and that the studio shows as columns."""
VIEWS: Mapping[str, str] = {spec.name: spec.style_view for spec in MEASURES if spec.style_view is not None}
"""Measures of nearness to the style, and how a reason calls each."""
