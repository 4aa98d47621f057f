"""The pool of the null: the bundled base's pictures of many prompts with many seeds, each drawn once."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from veneer.intervals import Array
from veneer.models.embedder import choose_embedders
from veneer.models.modelfiles import pocket_folder
from veneer.models.sampling import load_sampler, sample
from veneer.proof.evidence import Evidence, evidence_of
from veneer.proof.facts import Facts
from veneer.proof.layout import Layouts, copy_threshold, known_layouts, likeness
from veneer.proof.likeness import prompt_span, style_cost
from veneer.proof.pairs import Pair, View
from veneer.proof.texture import FILTERS, TextureView, filtered_rows, texture_rows
from veneer.recipe import load_recipe

NUM_PROMPTS, NUM_SEEDS, NUM_STEPS, SIDE_PX = 40, 24, 6, 128
STYLE = "8-bit illustration of"


@dataclass(frozen=True)
class Drawing:
    """A picture of the style, and what it shows."""

    path: Path
    subject: str

    @property
    def prompt(self) -> str:
        """What is asked for, and the picture's caption."""
        return f"{STYLE} a {self.subject}"


def drawings() -> list[Drawing]:
    """The bundled pictures of the style, in the order of their list."""
    demo = pocket_folder() / "demo"
    with (demo / "NAMES.csv").open(newline="", encoding="utf-8") as file:
        return [Drawing(demo / row["file_name"], row["subject"]) for row in csv.DictReader(file)]


def picture_of(folder: Path, subject: str, seed: int) -> Path:
    """Where the picture of a subject and a seed lies."""
    return folder / f"{subject.replace(' ', '-')}-{seed:03d}.png"


def draw(folder: Path, subjects: list[str], num_seeds: int) -> None:
    """Draw every subject with every seed, seed by seed, where that was not done before."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(subject, seed) for seed in range(num_seeds) for subject in subjects]
    missing = [job for job in jobs if not picture_of(folder, *job).is_file()]
    if not missing:
        return
    recipe = load_recipe("pocket-8bit", [f"generate.num_inference_steps={NUM_STEPS}"])
    sampler = load_sampler("pocket", recipe.generate)
    drawn = sample(sampler, [(f"{STYLE} a {subject}", seed) for subject, seed in missing])
    for job, one in zip(missing, drawn, strict=True):
        one.image.save(picture_of(folder, *job))


@dataclass(frozen=True)
class Pool:
    """All pictures as numbers: P subjects, S seeds, R real pictures of the style, in the order of `drawings`.

    Attributes:
        pictures: Through the bundled CLIP, (P, S, D).
        textures: Texture statistics, (P, S, T).
        filtered: The same through each filter that anybody can put over a picture, (F, P, S, T).
        likeness: Likeness of layout to each real picture, (P, S, R).
        texts: Each subject's prompt, (P, D).
        real: The style's pictures through CLIP, (R, D); the first P show the subjects.
        real_textures: Their texture statistics, (R, T).
        real_likeness: Likeness of their layouts, (R, R); that to itself is -1.
    """

    pictures: Array
    textures: Array
    filtered: Array
    likeness: Array
    texts: Array
    real: Array
    real_textures: Array
    real_likeness: Array

    @property
    def num_seeds(self) -> int:
        """Seeds that every subject was drawn with."""
        return int(self.pictures.shape[1])


def look(folder: Path, num_prompts: int, num_seeds: int) -> Pool:
    """Look at the pool through the bundled CLIP and at its texture, once: kept beside the pictures."""
    kept = folder / f"seen-{num_prompts}-{num_seeds}.npz"
    if not kept.is_file():
        real = drawings()
        draw(folder, [one.subject for one in real[:num_prompts]], num_seeds)
        files = [
            picture_of(folder, one.subject, seed) for one in real[:num_prompts] for seed in range(num_seeds)
        ]
        clip = choose_embedders("pocket", "pocket").pictures
        texts = clip.text_features([one.prompt for one in real[:num_prompts]])
        assert texts is not None
        shape = (num_prompts, num_seeds, -1)
        true = [one.path for one in real]
        views = known_layouts(true)
        real_likeness = likeness(true, views)
        np.fill_diagonal(real_likeness, -1.0)
        np.savez(
            kept,
            pictures=clip.image_features(files).reshape(shape),
            textures=texture_rows(files, SIDE_PX).reshape(shape),
            filtered=filtered_rows(files, SIDE_PX).reshape(len(FILTERS), *shape),
            likeness=likeness(files, views).reshape(shape),
            texts=texts,
            real=clip.image_features(true),
            real_textures=texture_rows(true, SIDE_PX),
            real_likeness=real_likeness,
        )
    with np.load(kept) as found:
        return Pool(**found)


@dataclass(frozen=True)
class Design:
    """How a comparison is drawn out of the pool.

    Attributes:
        num_shared: Prompts that share their seeds, as a recipe's own do.
        num_own: Prompts with two seeds of their own, as held-out captions have.
        num_seeds: Seeds of the prompts that share.
        num_held_out: Pictures that stand for the style.
        pull: Part of the way to the true picture of its subject that a tuned picture went; 0 is none.
        lost: Chance that all tuned pictures of a prompt show another subject, one that is not asked for.
    """

    num_shared: int
    num_own: int = 0
    num_seeds: int = 3
    num_held_out: int = 12
    pull: float = 0.0
    lost: float = 0.0

    @property
    def num_prompts(self) -> int:
        """Prompts in all."""
        return self.num_shared + self.num_own


def comparison(pool: Pool, design: Design, random: np.random.Generator) -> tuple[Evidence, Facts]:
    """One comparison of the base with itself, or with itself drawn towards the style.

    Subjects, held-out pictures and seeds are drawn without putting back; no seed stands on both sides, and no
    picture held out or trained on shows a subject that is drawn.

    Returns:
        What the measures look at, and what the rules read beside them.
    """
    subjects = random.choice(len(pool.pictures), design.num_prompts, replace=False)
    shared = random.choice(pool.num_seeds, (design.num_seeds, 2), replace=False)
    shown = _shown(pool, subjects, design.lost, random)
    rows: list[tuple[int, int, int, int, int]] = []
    for number, subject in enumerate(subjects):
        is_shared = number < design.num_shared
        seeds = shared if is_shared else random.choice(pool.num_seeds, (2, 2), replace=False)
        labels = [k if is_shared else 1000 * number + k for k in range(len(seeds))]
        rows += [(subject, shown[number], *pair, label) for pair, label in zip(seeds, labels, strict=True)]
    who, drawn, before, after, label = (list(one) for one in zip(*rows, strict=True))
    others = np.setdiff1d(np.arange(len(pool.real)), subjects)
    held_out = random.choice(others, design.num_held_out, replace=False)
    training = np.setdiff1d(others, held_out)
    towards = partial(_towards, who=drawn, pull=design.pull)
    pictures = View(
        pool.pictures[who, before],
        _unit(pool.pictures[drawn, after] + towards(pool.pictures, pool.real)),
        pool.texts[who],
        pool.real[held_out],
        pool.real[training],
    )
    texture = TextureView(
        pool.textures[who, before],
        pool.textures[drawn, after] + towards(pool.textures, pool.real_textures),
        None,
        pool.real_textures[held_out],
        pool.real_textures[training],
        pool.filtered[:, who, before],
    )
    pairs = [Pair(str(one), "recipe", seed, Path(), Path()) for one, seed in zip(who, label, strict=True)]
    cost, span = _cost(pool, pictures, who)
    facts = Facts(design.num_prompts, design.num_held_out, len(pairs), style_cost=cost, prompt_span=span)
    laid_out = Layouts(
        pool.likeness[who, before][:, training],
        (pool.likeness[drawn, after] + towards(pool.likeness, pool.real_likeness))[:, training],
        copy_threshold(pool.real_likeness[np.ix_(training, training)]),
    )
    return evidence_of(pairs, pictures, texture=texture, laid_out=laid_out), facts


def _shown(pool: Pool, subjects: Array, lost: float, random: np.random.Generator) -> list[int]:
    """What the tuned pictures of each subject show: the subject, or one that nobody asked for."""
    if not lost:
        return [int(one) for one in subjects]
    others = np.setdiff1d(np.arange(len(pool.pictures)), subjects)
    is_lost = random.random(len(subjects)) < lost
    return [int(one) for one in np.where(is_lost, random.choice(others, len(subjects)), subjects)]


def _cost(pool: Pool, pictures: View, who: list[int]) -> tuple[float | None, float]:
    """What the style costs the prompt, were all prompts captions of held-out pictures; and the span."""
    assert pictures.texts is not None
    cost = style_cost(pictures.base, pool.real[who], pictures.texts, who)
    return None if cost.ci95 is None else -cost.ci95[1], prompt_span(pictures.base, pictures.texts, who)


def _towards(drawn: Array, real: Array, *, who: list[int], pull: float) -> Array:
    """The way from the middle of a subject's pictures to its true one, the same for all its seeds.

    Args:
        drawn: Numbers of all drawn pictures, shape (P, S, D).
        real: Numbers of the true ones, shape (R, D).
        who: Subject of each pair, N.

    Returns:
        What is added to the pair's numbers, shape (N, D); seeds differ among themselves as before.
    """
    return pull * (real[who] - drawn.mean(axis=1)[who])


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
