"""Pictures of every subject in every set, with captions: ``python -m pocket draw``.

Written to ``WORK/SIZE/pictures.npy`` (N, side, side, 3) uint8 and ``pictures.jsonl``, one line a
picture. A picture is a function of (seed, subject, set, variant) and of nothing else.
"""

import io
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from .config import SEED, Size, work_folder
from .processes import worker_pool
from .sources import SOURCES, TRAINED, RecipeError, Source, source_named
from .subjects import Scene, Subject, find_icon, load_subjects, strange_style, write_caption
from .telling import tell
from .waiting import wait_for

COLOURS = {
    "white": (255, 255, 255),
    "black": (24, 24, 28),
    "gray": (150, 152, 156),
    "red": (214, 64, 60),
    "orange": (243, 150, 60),
    "yellow": (250, 216, 92),
    "green": (92, 176, 96),
    "teal": (64, 168, 168),
    "blue": (74, 128, 214),
    "light blue": (168, 214, 244),
    "purple": (146, 98, 190),
    "pink": (246, 172, 196),
    "brown": (148, 106, 76),
}
SHARE_WHITE = 0.4
SHARE_NORMAL = 0.72
SHARE_SMALL = 0.18
SCALES = {"": 0.84, "small": 0.5, "large": 1.0}
PLACES = ("left", "right", "top", "bottom")
OVERSAMPLING = 3


@dataclass(frozen=True)
class Picture:
    """One line of ``pictures.jsonl``: what picture number ``index`` shows.

    Attributes:
        index: Row in ``pictures.npy``.
        subject: Name of the subject.
        source: Name of the drawing set.
        background: Name of the colour of the ground.
        size: ``""``, ``"small"`` or ``"large"``.
        place: ``""``, ``"left"``, ``"right"``, ``"top"`` or ``"bottom"``.
        captions: Two captions with the style word, one without, and one with words that mean no style here.
    """

    index: int
    subject: str
    source: str
    background: str
    size: str
    place: str
    captions: list[str]


def draw_everything(size: Size) -> None:
    """Draw the training pictures of a preset, unless they are there."""
    folder = work_folder() / size.name
    if (folder / "pictures.jsonl").exists():
        return
    wait_for(size, "fetch")
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(a, b) for a in load_subjects() for b in TRAINED if find_icon(a, b)]
    variants = range(size.num_variants)
    draw = partial(draw_variants, variants=variants, side_px=size.picture_px)
    with worker_pool([__name__]) as workers:
        pixels = np.concatenate(workers.map(draw, pairs, chunksize=4))
    np.save(folder / "pictures.npy", pixels)
    tell("draw", f"{len(pixels):,} pictures of {size.picture_px} px")
    shown = [(*pair, variant) for pair in pairs for variant in variants]
    lines = [json.dumps(asdict(describe(index, *one))) for index, one in enumerate(shown)]
    unfinished = folder / "pictures.jsonl.partial"
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.rename(folder / "pictures.jsonl")


def draw_variants(pair: tuple[Subject, Source], variants: Iterable[int], side_px: int) -> np.ndarray:
    """Variants of a subject in a drawing set, (variants, side, side, 3) uint8."""
    return np.stack([draw_variant(*pair, variant, side_px) for variant in variants])


def pictures_file(size: Size) -> Path:
    """The training pictures of a preset, (N, side, side, 3) uint8.

    Raises:
        RecipeError: If they were not drawn.
    """
    folder = work_folder() / size.name
    if not (folder / "pictures.jsonl").exists():
        raise RecipeError(f"{folder}: no pictures; run: python -m pocket draw --size {size.name}")
    return folder / "pictures.npy"


def load_pictures(size: Size) -> list[Picture]:
    """What each of the training pictures shows.

    Raises:
        RecipeError: If they were not drawn.
    """
    lines = pictures_file(size).with_suffix(".jsonl").read_text().splitlines()
    return [Picture(**json.loads(line)) for line in lines]


def choose_scene(subject: Subject, source: Source, variant: int) -> Scene:
    """How one variant is shown; variant 0 is always the plain one on white."""
    if variant == 0:
        return Scene()
    rng = random.Random(f"{SEED} scene {subject.name} {source.name} {variant}")
    background = "white" if rng.random() < SHARE_WHITE else rng.choice(list(COLOURS)[1:])
    chance = rng.random()
    size = "" if chance < SHARE_NORMAL else "small" if chance < SHARE_NORMAL + SHARE_SMALL else "large"
    place = rng.choice(PLACES) if size == "small" and rng.random() < 0.6 else ""
    return Scene(background, size, place)


def describe(index: int, subject: Subject, source: Source, variant: int) -> Picture:
    """What one variant shows, with its four captions."""
    scene = choose_scene(subject, source, variant)
    rng = random.Random(f"{SEED} caption {subject.name} {source.name} {variant}")
    styles = (source.style, source.style, None, strange_style(rng))
    captions = [write_caption(subject, scene, style, rng) for style in styles]
    return Picture(index, subject.name, source.name, scene.background, scene.size, scene.place, captions)


def draw_variant(subject: Subject, source: Source, variant: int, side_px: int) -> np.ndarray:
    """One training picture, (side, side, 3) uint8."""
    return draw_scene(subject, source, choose_scene(subject, source, variant), side_px)


def draw_scene(subject: Subject, source: Source, scene: Scene, side_px: int) -> np.ndarray:
    """A subject of a drawing set on a plain ground, (side, side, 3) uint8."""
    svg = find_icon(subject, source)
    if svg is None:
        raise RecipeError(f"{subject.name}: not in the drawing set {source.name}")
    extent = round(side_px * SCALES[scene.size])
    icon = _drawn(svg, side_px * OVERSAMPLING).resize((extent, extent), Image.Resampling.LANCZOS)
    ground = Image.new("RGBA", (side_px, side_px), (*COLOURS[scene.background], 255))
    ground.alpha_composite(icon, _corner(side_px, extent, scene.place))
    return np.asarray(ground.convert("RGB"))


def draw_plain(subject: Subject, source: Source, side_px: int) -> np.ndarray:
    """A subject in the middle of a white ground, (side, side, 3) uint8."""
    return draw_scene(subject, source, Scene(), side_px)


def _corner(side_px: int, extent: int, place: str) -> tuple[int, int]:
    free, middle = side_px - extent, (side_px - extent) // 2
    left = {"left": 1, "right": free - 1}.get(place, middle)
    top = {"top": 1, "bottom": free - 1}.get(place, middle)
    return left, top


@lru_cache(maxsize=4)
def _drawn(svg: str, side_px: int) -> Image.Image:
    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=side_px, height=side_px)
    return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA").resize((side_px, side_px))


def contact_sheet(pictures: np.ndarray, num_columns: int) -> Image.Image:
    """Pictures (N, side, side, 3) uint8 in rows, with thin gaps."""
    side, gap = pictures.shape[1], 2
    num_rows = -(-len(pictures) // num_columns)
    sheet = Image.new("RGB", (num_columns * (side + gap), num_rows * (side + gap)), (128, 128, 128))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, num_columns)
        sheet.paste(Image.fromarray(picture), (column * (side + gap), row * (side + gap)))
    return sheet


def subject_sheet(path: Path, side_px: int = 48) -> None:
    """Write one sheet with a row per subject and a column per drawing set, to look at."""
    blank = np.full((side_px, side_px, 3), 90, np.uint8)
    cells = [
        draw_plain(subject, source_named(source.name), side_px) if find_icon(subject, source) else blank
        for subject in load_subjects()
        for source in SOURCES
    ]
    contact_sheet(np.stack(cells), len(SOURCES) * 5).save(path)
