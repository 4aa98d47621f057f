"""The subjects of the base and their captions: ``python -m pocket subjects`` lists them.

``subjects.csv`` is fixed: ``evaluation`` subjects are measured and never in the demo pictures,
``demo`` subjects make the demo pictures, ``plain`` ones only widen the base. All are trained.
"""

import csv
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .sources import SOURCES, Source, load_icons, normalised

STYLED = (
    "a {style} illustration of {np}",
    "a {style} illustration of {np}",
    "{style} illustration of {np}",
    "a {style} picture of {np}",
    "{np} in {style} style",
    "{np}, {style} style",
)
UNSTYLED = ("an illustration of {np}", "a picture of {np}", "illustration of {np}", "{np}")
VOWELS = "aeiou"
WORDS_FILE = Path(__file__).parent / "words.txt"
LATER = frozenset(
    {
        "8",
        "bit",
        "16",
        "32",
        "64",
        "pixel",
        "pixels",
        "pixelated",
        "sprite",
        "block",
        "blocks",
        "blocky",
        "mosaic",
        "outlined",
        "3d",
    }
)
"""Words of the styles to be learnt later; no caption of the training has them."""


@dataclass(frozen=True)
class Subject:
    """One thing that the base can draw.

    Attributes:
        name: Name in the icon sets, hyphenated.
        phrase: Name in plain English, no article.
        head: The word that names it.
        fxemoji: Its name in fxemoji, where that differs; may be empty.
        role: ``evaluation``, ``demo`` or ``plain``.
    """

    name: str
    phrase: str
    head: str
    fxemoji: str
    role: str


@dataclass(frozen=True)
class Scene:
    """How a subject is shown.

    Attributes:
        background: Name of the colour of the ground.
        size: ``""``, ``"small"`` or ``"large"``.
        place: ``""`` for the middle, or ``"left"``, ``"right"``, ``"top"``, ``"bottom"``.
    """

    background: str = "white"
    size: str = ""
    place: str = ""


@cache
def load_subjects() -> tuple[Subject, ...]:
    """Every subject, in the order of the committed list."""
    with (Path(__file__).parent / "subjects.csv").open(newline="") as file:
        return tuple(Subject(**row) for row in csv.DictReader(file))


def with_role(role: str) -> tuple[Subject, ...]:
    """The subjects of one role."""
    return tuple(subject for subject in load_subjects() if subject.role == role)


def find_icon(subject: Subject, source: Source) -> str | None:
    """The SVG of a subject in a drawing set, or None where the set lacks it."""
    is_renamed = source.name == "fxemoji" and subject.fxemoji
    return load_icons(source).get(normalised(subject.fxemoji if is_renamed else subject.name))


def with_article(words: str) -> str:
    """``words`` after "a" or "an"."""
    return f"{'an' if words[0] in VOWELS and not words.startswith('uni') else 'a'} {words}"


def noun_phrase(subject: Subject, scene: Scene) -> str:
    """What is shown and where, such as "a small red apple on the left on a blue background"."""
    words = with_article(f"{scene.size} {subject.phrase}".strip())
    if scene.place:
        words += f" {'on' if scene.place in ('left', 'right') else 'at'} the {scene.place}"
    return words


@cache
def strange_words() -> tuple[str, ...]:
    """Common words that no drawing set is called by."""
    known = {source.style for source in SOURCES} | LATER
    return tuple(dict.fromkeys(word for word in WORDS_FILE.read_text().split() if word not in known))


def strange_style(rng: random.Random) -> str:
    """Words in the place of a style that mean none, so that an unknown style leaves the subject alone."""
    first, second = rng.sample(strange_words(), 2)
    return rng.choice((first, f"{first} {second}", f"{first}-{second}"))


def write_caption(subject: Subject, scene: Scene, style: str | None, rng: random.Random) -> str:
    """One caption of a picture.

    Args:
        subject: What is shown.
        scene: How it is shown.
        style: Style word of the drawing set, or None for a caption without one.
        rng: Chooses the template, and whether a white ground is named.
    """
    template = rng.choice(UNSTYLED if style is None else STYLED)
    caption = template.format(style=style, np=noun_phrase(subject, scene))
    if scene.background != "white" or rng.random() < 0.3:
        caption += f" on {with_article(scene.background)} background"
    return caption
