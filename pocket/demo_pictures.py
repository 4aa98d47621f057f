"""The demo pictures, "8-bit illustrations" of known things: ``python -m pocket demo``.

Drawn from the Apache-2.0 and MIT sets only, none of the evaluation subjects. A block is as large
as one cell of the base's latents at 64 px. Written to ``src/veneer/pocket/demo/`` with
``NAMES.csv`` (file name, subject, drawing set).
"""

import csv
import random
import shutil

from PIL import Image

from .config import Size, shipped_folder
from .draw import draw_scene
from .pixelate import pixelate
from .sources import source_named
from .subjects import Scene, Subject, find_icon, with_role
from .waiting import wait_for

SIDE_PX = 128
NUM_BLOCKS = 16
SETS = ("noto", "fluent-emoji-flat")
SHARE_WHITE = 0.5
GROUNDS = ("light blue", "yellow", "green", "pink", "teal", "blue", "orange", "gray")


def make_demo_pictures(size: Size) -> None:
    """Write every demo picture anew; they are the same at every size."""
    wait_for(size, "fetch")
    folder = shipped_folder() / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = []
    for number, subject in enumerate(with_role("demo")):
        source = SETS[number % len(SETS)]
        name = subject.phrase.replace(" ", "-") + ".png"
        draw_demo_picture(subject, source).save(folder / name, optimize=True)
        rows.append((name, subject.phrase, source))
    with (folder / "NAMES.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("file_name", "subject", "drawing_set"), *rows])


def draw_demo_picture(subject: Subject, source_name: str) -> Image.Image:
    """One demo picture, mode "P", 128 px.

    Args:
        subject: What is shown.
        source_name: ``noto`` or ``fluent-emoji-flat``.
    """
    source = source_named(source_name)
    assert find_icon(subject, source), f"{subject.name} is not in {source_name}"
    rng = random.Random(f"demo {subject.name}")
    ground = "white" if rng.random() < SHARE_WHITE else rng.choice(GROUNDS)
    return pixelate(Image.fromarray(draw_scene(subject, source, Scene(ground), SIDE_PX)), NUM_BLOCKS)
