"""What each view of style sees: true drawings of a style against the same things truly drawn in other sets.

    python -m bench.bench_views [--subjects 24]

A tuned model that drew the style perfectly would score this much; a view that shows no rise here cannot see
one there. Prints the table of docs/log.md: difference with its 99 % interval, by style and view.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from bench.style_tasks import STYLES, Style, build_task
from pocket.draw import draw_plain
from pocket.sources import TRAINED
from pocket.subjects import Subject, find_icon
from veneer.models.embedder import Embedder, load_embedder
from veneer.proof.likeness import style_measure
from veneer.proof.pairs import Pair, View
from veneer.proof.texture import texture_measure, texture_view
from veneer.stats import Measure

NUM_HELD_OUT = 8
SIDE_PX = 128


def in_other_sets(subjects: list[Subject], style: Style) -> np.ndarray:
    """The same things as the base draws them: each in one of its own sets, never the style's source."""
    pictures = []
    for number, subject in enumerate(subjects):
        sets = [s for s in TRAINED if s.name != style.source and find_icon(subject, s)]
        pictures.append(draw_plain(subject, sets[number % len(sets)], SIDE_PX))
    return np.stack(pictures)


def measure(style: Style, num_subjects: int, clip: Embedder, folder: Path) -> tuple[Measure, Measure]:
    """CLIP-I and texture of true pictures in the style against those in other sets."""
    task = build_task(style, 0, SIDE_PX, max(num_subjects, NUM_HELD_OUT))
    asked = list(task.asked[:num_subjects])
    sets = {
        "base": in_other_sets(asked, style),
        "tuned": task.true_pictures(asked),
        "held-out": task.true_pictures(task.learnt[:NUM_HELD_OUT]),
    }
    paths = {name: _write(pictures, folder / style.name / name) for name, pictures in sets.items()}
    seen = {name: clip.image_features(found) for name, found in paths.items()}
    names = [subject.name for subject in asked]
    real = seen["held-out"]
    clip_i = style_measure(View(seen["base"], seen["tuned"], None, real, real[:0]), names)
    drawn = zip(names, paths["base"], paths["tuned"], strict=True)
    pairs = [Pair(name, "recipe", None, before, after) for name, before, after in drawn]
    return clip_i, texture_measure(texture_view(pairs, paths["held-out"]), names)


def _write(pictures: np.ndarray, folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03d}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=24)
    asked = parser.parse_args()
    clip = load_embedder("pocket")
    print("| style | CLIP-I, bundled CLIP | texture statistics |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for style in STYLES:
            found = measure(style, asked.subjects, clip, Path(folder))
            cells = [_cell(one) for one in found]
            print(f"| {style.name} | " + " | ".join(cells) + " |", flush=True)


def _cell(found: Measure) -> str:
    interval = "no interval" if found.ci99 is None else "{:+.3f} to {:+.3f}".format(*found.ci99)
    return f"{found.delta:+.3f} ({interval})"


if __name__ == "__main__":
    main()
