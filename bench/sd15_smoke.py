"""The real size: SD 1.5's or SDXL's exact structure with random weights, the whole path at 512 px.

    python -m bench.sd15_smoke [--family sdxl] [--steps 3] [--pictures 6] [--keep FOLDER]

Builds the pipeline folder (a UNet of 860 M or 2.6 G), draws a few pictures with captions, and runs every
stage. Prints seconds and peak memory of each, and fails above 16 GiB (SDXL: 20). With random weights the
pictures are noise: what is shown is that loading, encoding, training, export and generation work at this
size, not that they look good.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from bench.random_sd15 import build_random_sd15
from veneer import run
from veneer.cli.progress import ProgressPrinter
from veneer.config import Recipe
from veneer.models.families import FAMILIES
from veneer.outcomes import RunResult
from veneer.recipe import resolve

LIMIT_GIB = {"sd1": 16.0, "sdxl": 20.0}
"""Most main memory that a run may take, by family."""


def draw_pictures(folder: Path, count: int, size: int) -> None:
    """Draw captioned pictures: a coloured disc on a coloured ground.

    Args:
        folder: Where they go, with a `.txt` caption beside each.
        count: How many.
        size: Side in pixels.
    """
    folder.mkdir(parents=True)
    colours = ("red", "green", "blue", "yellow", "purple", "orange")
    for i in range(count):
        front, ground = colours[i % 6], colours[(i * 5 + 1 + i // 6) % 6]
        picture = Image.new("RGB", (size, size), ground)
        inset = size // 8 + 4 * i % (size // 4)
        ImageDraw.Draw(picture).ellipse((inset, inset, size - inset, size - inset), fill=front)
        picture.save(folder / f"disc-{i}.png")
        (folder / f"disc-{i}.txt").write_text(f"a {front} disc on a {ground} ground")


def smoke_recipe(base: Path, pictures: Path, steps: int, *, is_large: bool = False) -> Recipe:
    """The recipe of the smoke run.

    Args:
        pictures: Folder of the pictures.
        is_large: Whether activations are computed again in place of kept.

    Returns:
        A resolved recipe at 512 px in bfloat16.
    """
    return resolve(
        {
            "base": {"model": str(base)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": "none"},
            "encode": {"resolution": 512},
            "train": {
                "max_train_steps": steps,
                "train_batch_size": 1,
                "mixed_precision": "bf16",
                "gradient_checkpointing": is_large,
                "checkpointing_steps": steps,
                "validation_steps": steps,
                "validation_share": 0.0,
            },
            "generate": {
                "prompts": ["a red disc on a blue ground"],
                "seeds": [0],
                "num_inference_steps": 2,
                "resolution": 512,
            },
            "compare": {"embedder": "pocket", "held_out_prompts": 0, "general_prompts": []},
        }
    )


def report(result: RunResult) -> float:
    """Print seconds and peak memory of each stage.

    Args:
        result: The finished run.

    Returns:
        The highest peak of main memory, in GiB.
    """
    print(f"{'stage':<10}{'seconds':>10}{'peak GiB':>10}{'on the device':>15}")
    for stage in result.stages:
        print(
            f"{stage.name:<10}{stage.seconds:>10.1f}{stage.peak_memory_gib:>10.2f}"
            f"{stage.peak_device_memory_gib:>15.2f}"
        )
    return max(stage.peak_memory_gib for stage in result.stages)


def main() -> int:
    """Build, run and report.

    Returns:
        0 where the run ended within the memory, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=sorted(LIMIT_GIB), default="sd1")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--keep", type=Path, help="folder to build and run in, and to keep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        family = next(one for one in FAMILIES if one.name == options.family)
        base = root / f"random-{family.name}"
        if not (base / "model_index.json").is_file():
            print(f"building the structure of {family.label} with random weights", file=sys.stderr)
            build_random_sd15(base, family=family)
        pictures = root / "pictures"
        if not pictures.exists():
            draw_pictures(pictures, options.pictures, 512)
        recipe = smoke_recipe(base, pictures, options.steps, is_large=family.name == "sdxl")
        with ProgressPrinter() as on_event:
            result = run(recipe, root / "run", on_event=on_event)
        peak = report(result)
        log = [json.loads(line) for line in (root / "run/train/log.jsonl").read_text().splitlines()]
        limit = LIMIT_GIB[family.name]
        print(f"last training step: {log[-1]['seconds']:.1f} s; highest peak: {peak:.2f} GiB of {limit:.0f}")
    return 0 if peak <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
