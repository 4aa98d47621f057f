"""What is called a copy: true pictures of a style never trained on, and training pictures come back.

    python -m bench.bench_copies [--subjects 48]

Everything goes through the bundled VAE, the least that a model does to a copy. The rule is that of
`veneer.proof.layout`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from bench.machine import heading, setting, write_results
from bench.style_tasks import STYLES, Style, build_task
from veneer.models.base import encode_pixels, load_base
from veneer.proof.layout import copy_threshold, known_layouts, likeness

SIDE_PX = 128
UNSEEN = "never trained on"
Change = Callable[[Image.Image], Image.Image]


def closer(part: float) -> Change:
    """A change that keeps only the middle, a part of the side."""

    def change(picture: Image.Image) -> Image.Image:
        edge = (1 - part) / 2 * picture.width
        box = (edge, edge, picture.width - edge, picture.height - edge)
        return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)

    return change


def recoloured(picture: Image.Image) -> Image.Image:
    """The hue turned by 56 degrees."""
    pixels = np.array(picture.convert("HSV"))
    pixels[..., 0] += 40
    return Image.fromarray(pixels, "HSV").convert("RGB")


CHANGES: Mapping[str, Change] = {
    "the same": lambda picture: picture,
    "moved by 3 px": lambda picture: ImageChops.offset(picture, 3, 3),
    "moved by 8 px": lambda picture: ImageChops.offset(picture, 8, 8),
    "mirrored": ImageOps.mirror,
    "15 % brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
    "blurred by 1 px": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
    "a tenth closer": closer(0.9),
    "a fifth closer": closer(0.8),
    "other colours": recoloured,
}


def through_vae(pictures: np.ndarray) -> list[Image.Image]:
    """Pictures, (N, H, W, 3), as the bundled base's VAE gives them back."""
    vae = load_base("pocket", parts=("vae",)).vae
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        mean, _ = encode_pixels(vae, pixels)
        drawn = vae.decode(mean / vae.config.scaling_factor, return_dict=False)[0]
    scaled = ((drawn.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous()
    return [Image.fromarray(one) for one in scaled.numpy()]


def shares_found(style: Style, num_subjects: int, folder: Path) -> dict[str, float]:
    """Share of pictures called copies: never trained on, then every kind of copy; and the threshold."""
    task = build_task(style, 0, SIDE_PX, num_subjects)
    learnt = task.true_pictures(task.learnt)
    training = _saved([Image.fromarray(one) for one in learnt], folder / "training")
    views = known_layouts(training)
    own = likeness(training, views)
    np.fill_diagonal(own, -1.0)
    threshold = copy_threshold(own)
    back = through_vae(learnt)
    shown = {UNSEEN: through_vae(task.true_pictures(task.asked[:num_subjects]))}
    shown |= {name: [change(one) for one in back] for name, change in CHANGES.items()}
    nearest = {name: likeness(_saved(them, folder / name), views).max(axis=1) for name, them in shown.items()}
    return {
        "threshold": threshold,
        "drawings never trained on": len(shown[UNSEEN]),
        "most alike, never trained on": float(nearest[UNSEEN].max()),
        **{name: float((one > threshold).mean()) for name, one in nearest.items()},
    }


def _saved(pictures: list[Image.Image], folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03d}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    return paths


def document(record: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    columns = [UNSEEN, *CHANGES]
    lines = heading("What is called a copy", record)
    lines += [
        "Share of pictures called copies: drawings of a style that training never saw, as many as are "
        f"*unseen*, and {record['subjects']} training pictures that came back changed. *Most alike* is the "
        "greatest likeness of a drawing never trained on to its nearest training picture.",
        "",
        "| style | threshold | unseen | most alike | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * (len(columns) + 3),
    ]
    for style, found in record["found"].items():
        cells = [f"{found['threshold']:.2f}", f"{found['drawings never trained on']}"]
        cells.append(f"{found['most alike, never trained on']:.2f}")
        cells += [f"{100 * found[name]:.0f} %" for name in columns]
        lines.append(f"| {style} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, print and keep the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=48)
    asked = parser.parse_args()
    record: dict[str, Any] = setting(shlex.join(["python", "-m", "bench.bench_copies", *sys.argv[1:]]))
    record |= {"subjects": asked.subjects, "found": {}}
    with tempfile.TemporaryDirectory() as folder:
        for style in STYLES:
            record["found"][style.name] = shares_found(style, asked.subjects, Path(folder) / style.name)
    text = document(record)
    print(text)
    write_results("copies", record, text)


if __name__ == "__main__":
    main()
