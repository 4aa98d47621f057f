"""False alarms and power: how often the base is called different from itself, and an effect found.

    python -m bench.bench_null [--comparisons N] [--effects N] [--seeds N] [--work FOLDER]

The base draws each subject with many seeds, once. Every comparison then takes subjects, seeds and held-out
pictures at random, calls one half of the seeds the base's and the other the tuned model's, and judges them
with `veneer compare`'s own measures and rules. Prompts share their seeds, as a recipe's do. Writes
``bench/results/null_HARDWARE_DATE.{json,md}`` and ends with status 1 where more than 1 in 100 are called
different in either direction.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.effects import effect
from bench.machine import setting, write_results
from bench.null_pool import NUM_PROMPTS, NUM_SEEDS, Design, Pool, comparison, look
from bench.null_tables import document
from veneer.proof.measures import MEASURES
from veneer.proof.style_views import style_falls, style_rises
from veneer.proof.verdict import judge
from veneer.stats import Measure

DESIGNS = {
    "5": Design(5),
    "6": Design(6),
    "8": Design(8),
    "14": Design(14),
    "24": Design(24),
    "8 + 12": Design(8, 12),
    "8, one seed": Design(8, num_seeds=1),
    "14, one seed": Design(14, num_seeds=1),
    "24, one seed": Design(24, num_seeds=1),
    "8, 4 held out": Design(8, num_held_out=4),
}
"""Comparisons of the base with itself; "8 + 12" is the demo's: twelve prompts have seeds of their own."""
WITH_EFFECTS = ("5", "8", "14", "24", "8 + 12", "8, one seed", "14, one seed", "24, one seed")
PULLS = (0.1, 0.2, 0.4, 0.7)
"""Effects: parts of the way to the true picture of its subject that a tuned picture went."""
LOST = (0.0, 0.1)
"""Chances that a tuned picture shows another subject."""
READ = ("style", "style_texture", "prompt", "retrieval", "diversity", "memorisation")
"""Measures that the rules read."""
AIM = 0.01


def judged(pool: Pool, design: Design, num_comparisons: int, seed: int) -> dict[str, float]:
    """Draw and judge many comparisons.

    Returns:
        Shares of the words, of reasons that decide, of measures that rise and fall; and the size
        of the effect.
    """
    random, counts = np.random.default_rng(seed), Counter[str]()
    found: list[dict[str, Measure | None]] = []
    for _ in range(num_comparisons):
        seen, facts = comparison(pool, design, random)
        measures = {spec.name: _known(spec.of(seen)) for spec in MEASURES if spec.name in READ}
        verdict = judge(measures, facts)
        counts[verdict.word] += 1
        counts["nearer"] += style_rises(measures)
        counts["further"] += style_falls(measures)
        counts.update({reason.code for reason in verdict.reasons if reason.decides})
        for name, measure in measures.items():
            counts.update(_directions(name, measure))
        found.append(measures)
    shares = {name: count / num_comparisons for name, count in sorted(counts.items())}
    return shares | effect(found)


def _known(found: Measure | str) -> Measure | None:
    return None if isinstance(found, str) else found


def _directions(name: str, measure: Measure | None) -> list[str]:
    if measure is None:
        return []
    directions = {"rises": measure.rises, "falls": measure.falls}
    return [f"{name} {word}" for word, is_so in directions.items() if is_so]


def false_alarms(shares: dict[str, float]) -> tuple[float, float]:
    """How often the base is called better and worse than itself; a trade is a false alarm in both."""
    trade = shares.get("trade", 0)
    return shares.get("better", 0) + trade, shares.get("worse", 0) + trade


def main() -> int:
    """Compare, and write the document.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=500)
    parser.add_argument("--effects", type=int, default=100, help="comparisons for each effect")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS, help="seeds of the pool")
    parser.add_argument("--work", type=Path, default=Path("runs/null"))
    asked = parser.parse_args()
    pool = look(asked.work, NUM_PROMPTS, asked.seeds)
    found: dict[str, dict[str, float]] = {}
    for number, (name, design) in enumerate(DESIGNS.items()):
        found[name] = judged(pool, design, asked.comparisons, seed=number)
        print(name, found[name], file=sys.stderr, flush=True)
    effects = {
        name: {
            f"{pull}, {lost}": judged(
                pool, replace(DESIGNS[name], pull=pull, lost=lost), asked.effects, seed=100 + n
            )
            for n, (lost, pull) in enumerate(product(LOST, PULLS))
        }
        for name in WITH_EFFECTS
    }
    record: dict[str, Any] = setting(shlex.join(["python", "-m", "bench.bench_null", *sys.argv[1:]])) | {
        "comparisons": asked.comparisons,
        "comparisons_of_effects": asked.effects,
        "seeds": asked.seeds,
        "found": found,
        "effects": effects,
    }
    text = document(record)
    print(text)
    write_results("null", record, text)
    return int(any(max(false_alarms(shares)) > AIM for shares in found.values()))


if __name__ == "__main__":
    sys.exit(main())
