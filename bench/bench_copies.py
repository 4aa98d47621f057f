"""What is called a copy: true pictures of a style never trained on, and training pictures come back.

    python -m bench.bench_copies [--subjects 48]

A copy is nearer to a training picture than a share of the distance between the closest two of these; the
rule's share is 1. Too large a share calls another thing of the same style a copy; too small a one misses
copies. Prints the table of docs/log.md: share of pictures called copies, by style and by share.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from bench.style_tasks import STYLES, Style, build_task
from veneer.models.base import encode_pixels, load_base
from veneer.models.embedder import Embedder, load_embedder
from veneer.proof.copies import copy_threshold
from veneer.proof.distances import nearest
from veneer.stats import Array

SIDE_PX = 128
SHARES = (1.0, 0.8, 2 / 3, 0.5)
Change = Callable[[Image.Image], Image.Image]


def shifted(picture: Image.Image) -> Image.Image:
    """Moved by 3 pixels, the edge repeated."""
    return Image.fromarray(np.roll(np.asarray(picture), (3, 3), (0, 1)))


CHANGES: dict[str, Change] = {
    "the same": lambda picture: picture,
    "shifted": shifted,
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
}


def through_vae(pictures: np.ndarray) -> np.ndarray:
    """Pictures as the bundled base's VAE gives them back, the least that a model does to a copy."""
    vae = load_base("pocket", parts=("vae",)).vae
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        mean, _ = encode_pixels(vae, pixels)
        drawn = vae.decode(mean / vae.config.scaling_factor, return_dict=False)[0]
    scaled = ((drawn.clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.asarray(scaled.permute(0, 2, 3, 1).contiguous())


def shares_found(style: Style, num_subjects: int, clip: Embedder, folder: Path) -> list[list[float]]:
    """For each share of the distance: never trained on, then every kind of copy."""
    task = build_task(style, 0, SIDE_PX, num_subjects)
    learnt = task.true_pictures(task.learnt)
    training = _see(clip, learnt, folder / "training")
    back = [Image.fromarray(one) for one in through_vae(learnt)]
    shown = {"unseen": through_vae(task.true_pictures(task.asked[:num_subjects]))}
    shown |= {name: np.stack([np.asarray(change(one)) for one in back]) for name, change in CHANGES.items()}
    seen = [nearest(_see(clip, pictures, folder / name), training)[1] for name, pictures in shown.items()]
    closest = 1 - copy_threshold(training)
    return [[float((one > 1 - share * closest).mean()) for one in seen] for share in SHARES]


def _see(clip: Embedder, pictures: np.ndarray, folder: Path) -> Array:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03d}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    return clip.image_features(paths)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=48)
    asked = parser.parse_args()
    clip = load_embedder("pocket")
    print("| style | share | never trained on | " + " | ".join(CHANGES) + " |")
    print("|---|---:|---:|" + "---:|" * len(CHANGES))
    with tempfile.TemporaryDirectory() as folder:
        for style in STYLES:
            found = shares_found(style, asked.subjects, clip, Path(folder) / style.name)
            for share, row in zip(SHARES, found, strict=True):
                cells = " | ".join(f"{100 * one:.0f} %" for one in row)
                print(f"| {style.name} | {share:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
