"""The style bench's pictures and measures: styles that the pocket base never saw, whose truth is known.

Drawings come from the packages that `pocket` pins; the judge that compares pictures with the truth was
trained on real drawings only and is no part of the base.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from pocket.draw import draw_plain
from pocket.evaluate import for_judge
from pocket.judge import JUDGE_FILE, Judge, load_judge
from pocket.judge import STYLES as JUDGED
from pocket.pixelate import pixelate_array
from pocket.sources import RecipeError, source_named
from pocket.subjects import Subject, find_icon, load_subjects, with_article
from veneer.proof.texture import texture_statistics
from veneer.records.dataset import Dataset, Item

NUM_SUBJECTS = 48
NUM_TO_CHOOSE = 12
"""Learnt subjects on which the base's best prompt is chosen."""
TRAINED_WORDS = ("soft", "flat", "bold", "shaded", "simple")
"""Style words of the base's own training captions: the best of them is the base's best prompt."""


@dataclass(frozen=True)
class Style:
    """A style that the base never saw.

    Attributes:
        name: Short name.
        source: Drawing set that it is made from.
        word: Word that calls it in captions and prompts.
        judged: Name by which the judge knows it.
        num_blocks: Blocks across, for a pixelation; 0 for the drawings themselves.
    """

    name: Literal["openmoji", "fluent-3d", "pixel-16", "pixel-32"]
    source: str
    word: str
    judged: str
    num_blocks: int = 0


STYLES = (
    Style("openmoji", "openmoji", "outlined", "openmoji"),
    Style("fluent-3d", "fluent-emoji", "3d", "fluent-emoji"),
    Style("pixel-16", "noto", "8-bit", "pixel", 16),
    Style("pixel-32", "twemoji", "mosaic", "pixel", 32),
)


@dataclass(frozen=True)
class Task:
    """What is learnt and what is asked, for one style.

    Attributes:
        learnt: Subjects whose pictures are trained on.
        asked: Other subjects, drawn after training and compared with the true pictures.
    """

    style: Style
    learnt: tuple[Subject, ...]
    asked: tuple[Subject, ...]
    side_px: int

    def prompts(self, word: str, subjects: Sequence[Subject]) -> list[str]:
        """Ask for subjects in a style.

        Args:
            word: The style's word; empty for none.
            subjects: What to show.
        """
        start = f"a {word} illustration of" if word else "an illustration of"
        return [f"{start} {with_article(subject.phrase)}" for subject in subjects]

    def true_pictures(self, subjects: Sequence[Subject]) -> np.ndarray:
        """Draw subjects as the style really shows them.

        Returns:
            Pictures, (N, side, side, 3) uint8.
        """
        return np.stack([_true_picture(self.style, subject, self.side_px) for subject in subjects])


@cache
def _true_picture(style: Style, subject: Subject, side_px: int) -> np.ndarray:
    plain = draw_plain(subject, source_named(style.source), side_px)
    return pixelate_array(plain, style.num_blocks) if style.num_blocks else plain


def build_task(style: Style, seed: int, side_px: int, num_subjects: int = NUM_SUBJECTS) -> Task:
    """Choose subjects: the asked ones are always the same, the learnt ones depend on the seed.

    Args:
        seed: Seed of the choice.
        num_subjects: Pictures to learn from, and subjects to ask for.

    Returns:
        The task; no subject is on both sides.
    """
    source = source_named(style.source)
    known = [subject for subject in load_subjects() if find_icon(subject, source)]
    asked = [subject for subject in known if subject.role == "evaluation"][:num_subjects]
    others = [subject for subject in known if subject.role != "evaluation"]
    learnt = random.Random(f"ruler {style.name} {seed}").sample(others, num_subjects)
    return Task(style, tuple(learnt), tuple(asked), side_px)


def write_dataset(task: Task, folder: Path) -> Path:
    """Write the learnt pictures as a Hugging Face image folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    captions = task.prompts(task.style.word, task.learnt)
    items = []
    pictures = task.true_pictures(task.learnt)
    for number, (pixels, caption) in enumerate(zip(pictures, captions, strict=True)):
        name = f"images/{number:03d}.png"
        Image.fromarray(pixels).save(folder / name)
        items.append(Item(name, caption))
    Dataset(folder).write_metadata(items)
    return folder


@dataclass(frozen=True)
class Judged:
    """What the judge says of N pictures against N true ones.

    Attributes:
        similarity: Cosine similarity to the true picture, shape (N,).
        is_first: Whether the true picture is the nearest of all N, shape (N,).
        style: Log odds of the style against all others, shape (N,).
        is_styled: Whether the style is the most probable one, shape (N,).
    """

    similarity: np.ndarray
    is_first: np.ndarray
    style: np.ndarray
    is_styled: np.ndarray


def texture_distance(drawn: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How far the marks of pictures are from those of a style, whatever they show; asks no network.

    Args:
        drawn: Pictures, (N, side, side, 3) uint8.
        true: True pictures of the style, (M, side, side, 3) uint8.

    Returns:
        Mean distance of the texture statistics from the style's mean, in the style's own deviations, at most
        5 each; shape (N,). True pictures themselves are at about 0.8.
    """
    real, mine = (np.stack([texture_statistics(one / 255) for one in side]) for side in (true, drawn))
    deviations = np.abs(mine - real.mean(axis=0)) / (real.std(axis=0) + 1e-3)
    return np.asarray(deviations.clip(0, 5).mean(axis=1))


@cache
def the_judge() -> Judge:
    """The trained judge, loaded once.

    Raises:
        RecipeError: If it was never trained.
    """
    if not JUDGE_FILE.is_file():
        raise RecipeError(f"{JUDGE_FILE}: the judge is missing; train it with `python -m pocket judge`")
    return load_judge()


@torch.no_grad()
def judge_pictures(drawn: np.ndarray, true: np.ndarray, style: Style) -> Judged:
    """Hold drawn pictures against the truth.

    Args:
        drawn: Pictures, (N, side, side, 3) uint8.
        true: The true pictures of the same subjects, in the same order.

    Returns:
        What the judge says.
    """
    judge = the_judge()
    features, _, named = judge(for_judge(drawn))
    gallery, _, _ = judge(for_judge(true))
    similarity = (features @ gallery.T).double().numpy()
    own = np.arange(len(drawn))
    asked = JUDGED.index(style.judged)
    odds = torch.logit(named.double().softmax(1)[:, asked], eps=1e-9).numpy()
    is_styled = named.argmax(1).numpy() == asked
    return Judged(similarity.diagonal().copy(), similarity.argmax(1) == own, odds, is_styled)
