"""False alarms: how often the verdict calls the bundled base different from itself.

    python -m bench.bench_null [--comparisons N] [--work FOLDER]

The base draws each prompt with many seeds, once. Every comparison then takes two seeds of each prompt at
random, calls one picture the base's and the other the tuned model's, and judges them with `veneer compare`'s
own functions. The answer should be `not shown`. Writes ``bench/results/null_HARDWARE_DATE.{json,md}`` and
ends with status 1 where more than 5 in 100 are called different.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import heading, setting, write_results
from veneer.models.embedder import Embedder, Embedders, choose_embedders
from veneer.models.modelfiles import pocket_folder
from veneer.models.sampling import load_sampler, sample
from veneer.proof.comparison import compare_pairs
from veneer.proof.evidence import References
from veneer.proof.pairs import Pair
from veneer.recipe import load_recipe
from veneer.stats import Array, Measure

SUBJECTS = (
    "bird", "hen", "chick", "goat", "cat", "dog", "house", "tree",
    "apple", "boat", "car", "cow", "fish", "flower", "mushroom", "rabbit",
)  # fmt: skip
NUM_SEEDS, NUM_STEPS = 60, 6
NUM_HELD_OUT = 8
AIM = 0.05


@dataclass(frozen=True)
class Remembering(Embedder):
    """An embedder that looks at each file once."""

    seen: dict[Path | Image.Image, Array] = field(default_factory=dict)

    def image_features(self, pictures: Sequence[Image.Image | Path]) -> Array:
        """Embed pictures, those that are new.

        Args:
            pictures: Files.

        Returns:
            Features, shape (N, D).
        """
        new = [one for one in dict.fromkeys(pictures) if one not in self.seen]
        if new:
            self.seen.update(zip(new, super().image_features(new), strict=True))
        return np.stack([self.seen[one] for one in pictures])


def draw(folder: Path) -> list[list[Path]]:
    """Draw every prompt with every seed, where that was not done before.

    Returns:
        Files by prompt and seed.
    """
    files = [[folder / f"{name}-{seed:03d}.png" for seed in range(NUM_SEEDS)] for name in SUBJECTS]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (path, prompt_of(name), seed)
        for name, row in zip(SUBJECTS, files, strict=True)
        for seed, path in enumerate(row)
        if not path.is_file()
    ]
    if jobs:
        recipe = load_recipe("pocket-8bit", [f"generate.num_inference_steps={NUM_STEPS}"])
        sampler = load_sampler("pocket", recipe.generate)
        drawn = sample(sampler, [(prompt, seed) for _, prompt, seed in jobs])
        for (path, _, _), one in zip(jobs, drawn, strict=True):
            one.image.save(path)
    return files


def prompt_of(subject: str) -> str:
    """What the base is asked for.

    Args:
        subject: A subject that it knows.
    """
    return f"a flat illustration of a {subject}"


def compare_with_itself(
    files: Sequence[Sequence[Path]], num_comparisons: int, embedders: Embedders
) -> dict[str, Any]:
    """Compare the base with itself many times.

    Args:
        files: Pictures by prompt and seed.
        embedders: What they are seen through.

    Returns:
        Shares of the words, of what decided where it was not `not shown`, and of rises and falls.
    """
    held_out = tuple(sorted((pocket_folder() / "demo").glob("*.png")))[:NUM_HELD_OUT]
    random, counts = np.random.default_rng(len(files)), Counter[str]()
    for number in range(num_comparisons):
        pairs = []
        for subject, row in zip(SUBJECTS, files, strict=False):
            base, tuned = random.choice(NUM_SEEDS, 2, replace=False)
            pairs.append(Pair(prompt_of(subject), "recipe", number, row[base], row[tuned]))
        found = compare_pairs(pairs, References(held_out), embedders)
        counts[found.verdict.word] += 1
        if found.verdict.word != "not shown":
            counts.update(reason.code for reason in found.verdict.reasons if reason.decides)
        for name, measure in found.measures.items():
            counts.update(_directions(name, measure))
    return {name: count / num_comparisons for name, count in sorted(counts.items())}


def _directions(name: str, measure: Measure | None) -> list[str]:
    if measure is None:
        return []
    directions = {"rises": measure.rises, "falls": measure.falls}
    return [f"{name} {word}" for word, is_so in directions.items() if is_so]


def _document(record: dict[str, Any]) -> str:
    found = record["found"]
    names = sorted({name for shares in found.values() for name in shares})
    words = [name for name in ("not shown", "better", "worse", "trade") if name in names]
    rows = [
        f"| {name} | " + " | ".join(f"{100 * shares.get(name, 0):.1f} %" for shares in found.values()) + " |"
        for name in [*words, *(name for name in names if name not in words)]
    ]
    return "\n".join(
        [
            *heading("The base against itself", record),
            f"{record['comparisons']} comparisons for each number of prompts: a picture of {NUM_STEPS} steps "
            f"for each prompt and side, two of {NUM_SEEDS} seeds at random; {NUM_HELD_OUT} pictures are the "
            "style. "
            "First the verdict, then what decided where it was not `not shown`, then how often the 99 % "
            "interval of a measure lay on one side of zero.",
            "",
            "| | " + " | ".join(f"{number} prompts" for number in found) + " |",
            "|---|" + "---:|" * len(found),
            *rows,
            "",
        ]
    )


def main() -> int:
    """Compare, and write the document.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=500)
    parser.add_argument("--work", type=Path, default=Path("runs/null"))
    asked = parser.parse_args()
    files, chosen = draw(asked.work), choose_embedders("pocket", "pocket")
    assert chosen.clip is not None
    embedders = Embedders(Remembering(**vars(chosen.clip)), None)
    found = {
        str(number): compare_with_itself(files[:number], asked.comparisons, embedders)
        for number in (len(SUBJECTS) // 2, len(SUBJECTS))
    }
    record = setting(shlex.join(["python", "-m", "bench.bench_null", *sys.argv[1:]])) | {
        "comparisons": asked.comparisons,
        "found": found,
    }
    text = _document(record)
    print(text)
    write_results("null", record, text)
    return int(any(1 - shares.get("not shown", 0) > AIM for shares in found.values()))


if __name__ == "__main__":
    sys.exit(main())
