"""Sabotage as a table: what was done to a run, the words it may get, and the reason that must be given.

A row more is a function that spoils a `Scene` and a line of `TABLE`. Pictures are real files, so texture,
emptiness and noise are read from pixels; what a CLIP would see is known by name, and no model is needed.
Trainings that are really sabotaged are in test_sabotage.py.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from veneer.intervals import Array
from veneer.models.embedder import Embedder, Embedders
from veneer.proof.comparison import Comparison, compare_pairs
from veneer.proof.evidence import References
from veneer.proof.facts import Losses
from veneer.proof.pairs import Pair

SIDE, WIDTH, PROMPTS, SEEDS = 32, 48, 14, 2
SUBJECTS = [f"subject {n}" for n in range(36)]
DIRECTIONS = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0]
STYLE, BASE, OTHER = DIRECTIONS[36], DIRECTIONS[37], DIRECTIONS[38]


def unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


@dataclass(frozen=True)
class Known(Embedder):
    """A CLIP that knows every file by its name, and every text by its subject."""

    seen: dict[Path, Array] = field(default_factory=dict)

    def image_features(self, pictures: Sequence[Any]) -> Array:
        return np.stack([self.seen[one] for one in pictures])

    def text_features(self, texts: Sequence[str]) -> Array:
        return np.stack([DIRECTIONS[SUBJECTS.index(one)] if one in SUBJECTS else STYLE for one in texts])


def features(subject: int, style: Array, chance: np.random.Generator, weight: float = 0.6) -> Array:
    """What the CLIP sees of a subject in a style."""
    return unit(DIRECTIONS[subject] + weight * style + 0.07 * chance.normal(size=WIDTH))


def smooth(chance: np.random.Generator) -> Image.Image:
    """A picture of the base: soft patches."""
    small = Image.fromarray(chance.integers(40, 216, (6, 6, 3), np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def blocks(chance: np.random.Generator) -> Image.Image:
    """A picture of the style: flat squares with hard edges."""
    small = Image.fromarray(chance.integers(0, 256, (8, 8, 3), np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)


@dataclass
class Scene:
    """A run before it is compared, honest until it is spoilt."""

    folder: Path
    clip: Known
    pairs: list[Pair]
    references: References
    chance: np.random.Generator

    def draw(self, row: int, subject: int, style: Array, picture: Image.Image, weight: float = 0.6) -> None:
        """Put another tuned picture in a pair's place."""
        path = self.pairs[row].tuned
        picture.save(path)
        self.clip.seen[path] = features(subject, style, self.chance, weight)

    def subject(self, row: int) -> int:
        return SUBJECTS.index(self.pairs[row].prompt)

    def judged(self) -> Comparison:
        return compare_pairs(self.pairs, self.references, Embedders(self.clip, None))


def honest(folder: Path) -> Scene:
    """Fourteen prompts in the style, subjects kept; two training pictures show each of them too."""
    chance = np.random.default_rng(1)
    clip = Known("known", None, None, None, "cpu")  # type: ignore[arg-type]
    scene = Scene(folder, clip, [], References(), chance)
    real = [folder / f"real-{n}.png" for n in range(36 + PROMPTS)]
    for n, path in enumerate(real):
        blocks(chance).save(path)
        clip.seen[path] = features(n % 36, STYLE, chance)
    for n in range(PROMPTS):
        for seed in range(SEEDS):
            base, tuned = (folder / f"{side}-{n}-{seed}.png" for side in ("base", "tuned"))
            smooth(chance).save(base)
            clip.seen[base] = features(n, BASE, chance)
            scene.pairs.append(Pair(SUBJECTS[n], "recipe", 1000 * n + seed, base, tuned))
            scene.draw(len(scene.pairs) - 1, n, 0.35 * STYLE + 0.2 * BASE, blocks(chance))
    training, captions = (*real[:28], *real[36:]), (*SUBJECTS[:28], *SUBJECTS[:PROMPTS])
    scene.references = References(tuple(real[28:36]), training, captions, tuple(SUBJECTS[28:]))
    return scene


def nothing(scene: Scene) -> None:
    """An honest run."""


def one_caption(scene: Scene) -> None:
    """A trigger word: twelve pictures, nine of them trained on, and one caption for all."""
    known = scene.references
    scene.references = replace(
        known,
        held_out=known.held_out[:4],
        held_out_captions=("sks",) * 4,
        training=known.training[:9],
        captions=("sks",) * 9,
    )


def shuffled_captions(scene: Scene) -> None:
    captions = list(scene.references.captions)
    random.Random(0).shuffle(captions)
    scene.references = replace(scene.references, captions=tuple(captions))


def too_many_steps(scene: Scene) -> None:
    """Twenty times too many: the held-out loss rose above the base's after it had been below."""
    base = tuple(0.2 + 0.01 * n for n in range(8))
    losses = Losses(0.235, 0.29, 4800, 0.21, 240, 0.29, 4800)
    scene.references = replace(
        scene.references, losses=losses, picture_losses=(base, tuple(one + 0.05 for one in base))
    )


def rate_a_hundredfold(scene: Scene) -> None:
    """The weights ran away: black pictures."""
    for row in range(len(scene.pairs)):
        scene.draw(row, 35, OTHER, Image.new("RGB", (SIDE, SIDE)))


def noise_for_pictures(scene: Scene) -> None:
    drawn = [*scene.references.held_out, *scene.references.training]
    for path in [*drawn, *(pair.tuned for pair in scene.pairs)]:
        Image.fromarray(scene.chance.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)


def every_picture_copied(scene: Scene) -> None:
    """Each prompt's picture is the training picture of its subject."""
    for row, pair in enumerate(scene.pairs):
        copied = scene.references.training[scene.subject(row)]
        shutil.copy(copied, pair.tuned)
        scene.clip.seen[pair.tuned] = scene.clip.seen[copied]


def copied_through(change: Callable[[Image.Image], Image.Image], every: int = 1) -> Callable[[Scene], None]:
    """Training pictures come back changed a little, where a CLIP sees the asked subject in the style."""

    def copy(scene: Scene) -> None:
        for row in range(0, len(scene.pairs), every):
            with Image.open(scene.references.training[scene.subject(row)]) as opened:
                changed = change(opened.convert("RGB"))
            scene.draw(row, scene.subject(row), 0.35 * STYLE + 0.2 * BASE, changed)

    return copy


def moved(picture: Image.Image) -> Image.Image:
    return ImageChops.offset(picture, 2, 1)


def brighter_mirrored(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(ImageOps.mirror(picture)).enhance(1.15)


def closer(picture: Image.Image) -> Image.Image:
    edge = picture.width / 20
    box = (edge, edge, picture.width - edge, picture.height - edge)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def one_picture_for_every_prompt(scene: Scene) -> None:
    for pair in scene.pairs[1:]:
        shutil.copy(scene.pairs[0].tuned, pair.tuned)
        scene.clip.seen[pair.tuned] = scene.clip.seen[scene.pairs[0].tuned]


def lost(count: int) -> Callable[[Scene], None]:
    """So many subjects lost: another one is shown, in the style."""

    def lose(scene: Scene) -> None:
        for row in range(count * SEEDS):
            scene.draw(row, scene.subject(row) + 14, STYLE, blocks(scene.chance))

    return lose


def another_style(scene: Scene) -> None:
    for row in range(len(scene.pairs)):
        wash = smooth(scene.chance).filter(ImageFilter.GaussianBlur(2))
        scene.draw(row, scene.subject(row), OTHER, wash)


def filtered(change: Callable[[Image.Image], Image.Image]) -> Callable[[Scene], None]:
    """The base's own pictures through a filter: the CLIP sees the base's, a little blurred itself."""

    def apply(scene: Scene) -> None:
        for pair in scene.pairs:
            with Image.open(pair.base) as opened:
                change(opened.convert("RGB")).save(pair.tuned)
            seen = scene.clip.seen[pair.base] + 0.02 * scene.chance.normal(size=WIDTH)
            scene.clip.seen[pair.tuned] = unit(seen)

    return apply


def another_base(scene: Scene) -> None:
    """A LoRA that was trained on other weights of the same shapes: mush that shows nothing asked for."""
    for row in range(len(scene.pairs)):
        mush = smooth(scene.chance).filter(ImageFilter.GaussianBlur(4))
        scene.draw(row, 39 + row % 8, OTHER, mush)


def strength_three(scene: Scene) -> None:
    """So much style that the subject fades."""
    for row in range(len(scene.pairs)):
        scene.draw(row, scene.subject(row), STYLE, blocks(scene.chance), weight=2.5)


def leaked_through(change: Callable[[Image.Image], Image.Image]) -> Callable[[Scene], None]:
    """Held-out pictures that are in the training set too, changed as a network does not see it."""

    def leaked(scene: Scene) -> None:
        known = scene.references
        again = []
        for n, path in enumerate(known.held_out[:3]):
            again.append(scene.folder / f"again-{n}.png")
            with Image.open(path) as picture:
                change(picture.convert("RGB")).save(again[-1])
            scene.clip.seen[again[-1]] = unit(scene.clip.seen[path] + 0.1 * scene.chance.normal(size=WIDTH))
        scene.references = replace(
            known,
            training=(*known.training, *again),
            captions=(*known.captions, *known.held_out_captions[:3]),
        )

    return leaked


NOT_BETTER = {"worse", "trade", "not shown"}
TABLE: list[tuple[Callable[[Scene], None], set[str], set[str]]] = [
    (nothing, {"better"}, {"style-rose"}),
    (one_caption, {"better"}, {"style-rose"}),
    (shuffled_captions, {"not shown"}, {"captions-mismatch"}),
    (too_many_steps, {"not shown"}, {"overfit"}),
    (rate_a_hundredfold, {"worse"}, {"broken-pictures"}),
    (noise_for_pictures, NOT_BETTER, {"pictures-noise"}),
    (every_picture_copied, {"not shown"}, {"memorised"}),
    *(
        (copied_through(change), {"not shown"}, {"memorised"})
        for change in (moved, brighter_mirrored, closer, lambda one: one.filter(ImageFilter.GaussianBlur(1)))
    ),
    (copied_through(moved, every=4), {"not shown"}, {"memorised"}),
    (one_picture_for_every_prompt, {"trade"}, {"prompt-fell", "subject-lost"}),
    *((lost(count), NOT_BETTER, {"subject-unsure", "subject-lost"}) for count in (2, 3, 5, 8, 14)),
    (another_style, {"worse", "not shown"}, {"style-fell", "style-same"}),
    (filtered(lambda one: one.point(lambda level: int(0.7 * level))), {"worse", "not shown"}, {"style-same"}),
    (
        filtered(lambda one: one.filter(ImageFilter.GaussianBlur(1.5))),
        {"worse", "not shown"},
        {"style-fell", "style-same"},
    ),
    (
        filtered(lambda one: one.filter(ImageFilter.UnsharpMask(2, 150, 0))),
        {"worse", "not shown"},
        {"style-fell", "style-same"},
    ),
    (another_base, {"worse"}, {"prompt-fell", "subject-lost", "style-fell"}),
    (strength_three, {"trade", "worse"}, {"prompt-fell"}),
    *(
        (leaked_through(change), {"not shown"}, {"held-out-leaked"})
        for change in (Image.Image.copy, moved, brighter_mirrored, closer)
    ),
]
NAMES = [
    *("honest", "one caption", "captions shuffled", "20 times the steps", "rate x 100", "noise", "copied"),
    *(
        "copied and moved",
        "copied, brighter, mirrored",
        "copied, closer",
        "copied, blurred",
        "a quarter copied",
    ),
    *(
        "one picture",
        "2 lost",
        "3 lost",
        "5 lost",
        "8 lost",
        "all lost",
        "another style",
        "darker",
        "blurred",
    ),
    *(
        "sharpened",
        "another base",
        "strength 3",
        "leaked",
        "leaked and moved",
        "leaked, mirrored",
        "leaked, closer",
    ),
]


@pytest.mark.parametrize(("spoil", "words", "reasons"), TABLE, ids=NAMES)
def test_what_was_done_is_named(
    tmp_path: Path, spoil: Callable[[Scene], None], words: set[str], reasons: set[str]
) -> None:
    scene = honest(tmp_path)
    spoil(scene)
    verdict = scene.judged().verdict
    assert verdict.word in words, verdict
    assert reasons & {reason.code for reason in verdict.reasons if reason.decides}, verdict
