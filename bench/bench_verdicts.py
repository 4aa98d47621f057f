"""What the verdict says of the style bench's own adapters, and what the power table promises.

    python -m bench.bench_verdicts [--steps 240] [--work FOLDER] [--draws 50]

Pictures are those that `bench.bench_style` left in its work folder: 48 subjects a style, drawn by the base
with its best prompt and by Veneer. Each comparison takes some of the subjects as prompts, and twelve others'
true pictures as held out; the power is that of the newest `bench/results/null_*.json` at as long a way.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.bench_style import PICTURES
from bench.effects import effect, newest_power, promised
from bench.machine import heading, setting, write_results
from bench.style_systems import BASE
from bench.style_tasks import STYLES, Style, Task, build_task
from veneer.models.embedder import choose_embedders
from veneer.proof.comparison import take_measures
from veneer.proof.evidence import Evidence, References, evidence_of, look
from veneer.proof.facts import Facts
from veneer.proof.likeness import prompt_span, style_cost
from veneer.proof.pairs import Pair
from veneer.proof.style_views import style_rises
from veneer.proof.verdict import judge
from veneer.stats import Measure

SIDE_PX, NUM_HELD_OUT, SYSTEM = 128, 12, "veneer"
NUM_PROMPTS = (8, 14, 24)
WORDS = ("better", "not shown", "trade", "worse")
COLUMNS = {
    "better": "better",
    "promised better": "promised",
    "nearer": "shown to be nearer",
    "promised nearer": "promised",
    "not shown": "not shown",
    "trade": "trade",
    "worse": "worse",
}


@dataclass(frozen=True)
class Shown:
    """All pictures of an adapter, looked at once.

    Attributes:
        seen: 48 pairs; the held-out pictures are the true ones of the same subjects, in their order.
        pairs: The pairs.
    """

    seen: Evidence
    pairs: tuple[Pair, ...]


def look_at(style: Style, seed: int, work: Path, folder: Path) -> Shown | None:
    """Look at an adapter's pictures; None where the style bench left none."""
    root = work / style.name
    files = root / BASE / PICTURES, root / f"seed-{seed}" / SYSTEM / PICTURES
    if not all(path.is_file() for path in files):
        return None
    task = build_task(style, seed, SIDE_PX)
    base, tuned = (_saved(_drawn(path), folder / path.parent.name) for path in files)
    true = _saved(task.true_pictures(task.asked), folder / "true")
    learnt = _saved(task.true_pictures(task.learnt), folder / "learnt")
    pairs = _pairs(task, base, tuned)
    references = References(held_out=tuple(true), training=tuple(learnt))
    return Shown(look(pairs, references, choose_embedders("pocket", "pocket")), pairs)


def verdicts(shown: Shown, num_prompts: int, draws: int, seed: int) -> dict[str, float]:
    """Judge many choices of prompts; shares of the words, of the way, and of subjects lost."""
    random, counts = np.random.default_rng(seed), Counter[str]()
    found: list[dict[str, Measure | None]] = []
    for _ in range(draws):
        order = random.permutation(len(shown.pairs))
        rows, others = sorted(order[:num_prompts]), sorted(order[num_prompts : num_prompts + NUM_HELD_OUT])
        seen, facts = _chosen(shown, rows, others)
        measures, _ = take_measures(seen)
        counts[judge(measures, facts).word] += 1
        counts["nearer"] += style_rises(measures)
        found.append(measures)
    shares = {word: counts[word] / draws for word in (*WORDS, "nearer")}
    return shares | effect(found)


def _chosen(shown: Shown, rows: list[int], others: list[int]) -> tuple[Evidence, Facts]:
    whole = shown.seen
    view = replace(whole.pictures.cut(rows), held_out=whole.pictures.held_out[others])
    texture = whole.texture and replace(whole.texture.cut(rows), held_out=whole.texture.held_out[others])
    pairs = [shown.pairs[row] for row in rows]
    seen = evidence_of(pairs, view, texture=texture, laid_out=whole.layouts and whole.layouts.cut(rows))
    assert view.texts is not None
    cost = style_cost(view.base, whole.pictures.held_out[rows], view.texts, rows)
    lower = None if cost.ci95 is None else -cost.ci95[1]
    span = prompt_span(view.base, view.texts, rows)
    return seen, Facts(len(rows), NUM_HELD_OUT, len(rows), style_cost=lower, prompt_span=span)


def _pairs(task: Task, base: list[Path], tuned: list[Path]) -> tuple[Pair, ...]:
    prompts = task.prompts(task.style.word, task.asked)
    both = zip(prompts, base, tuned, strict=True)
    return tuple(Pair(text, "recipe", row, *paths) for row, (text, *paths) in enumerate(both))


def _drawn(path: Path) -> np.ndarray:
    with np.load(path) as stored:
        return np.asarray(stored["drawn"])


def _saved(pictures: np.ndarray, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def document(record: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    lines = heading("Verdicts on adapters that learnt a style", record)
    names = ["style", "seed", "prompts", "share of the way", "gain", "subjects lost", *COLUMNS.values()]
    lines += [
        f"Veneer's recipe in {record['steps']} steps, 48 subjects a style drawn once by each; "
        f"{record['draws']} choices of prompts a row. *Promised* is how often the power table shows as "
        "large a gain with as many prompts of one seed and as many subjects lost. The gain is in units of "
        "the gain that would just be sure, in the view of style that sees most of it. The share of the way "
        "is CLIP's; where the base lies as near to the held-out pictures as they do to each other, it says "
        "nothing. No rate is promised for gains beyond the table's; the last rows are of the adapters with a "
        "promise. The choices of a row share most of their 48 subjects, so they are more alike than fresh "
        "comparisons: below a gain of 1 fewer are sure than promised, above it more.",
        "",
        "| " + " | ".join(names) + " |",
        "|---" + "|---:" * (len(names) - 1) + "|",
    ]
    lines += [_row(one) for one in record["found"]]
    lines += [_row(_mean(record["found"], count)) for count in NUM_PROMPTS]
    return "\n".join([*lines, ""])


def _row(one: Mapping[str, Any]) -> str:
    shares = " | ".join("" if one[name] is None else f"{100 * one[name]:.0f} %" for name in COLUMNS)
    gone = f"{100 * one['way']:.0f} % | {one['signal']:.2f} | {100 * one['fall']:.0f} %"
    return f"| {one['style']} | {one['seed']} | {one['prompts']} | {gone} | {shares} |"


def _mean(found: Sequence[Mapping[str, Any]], num_prompts: int) -> dict[str, Any]:
    """All adapters to which something is promised; with a few dozen subjects each is one draw of chance."""
    rows = [one for one in found if one["prompts"] == num_prompts and one["promised better"] is not None]
    names = ("way", "signal", "fall", *COLUMNS)
    means = {name: sum(one[name] for one in rows) / len(rows) for name in names}
    return {"style": f"**{len(rows)} adapters**", "seed": "", "prompts": num_prompts, **means}


def main() -> None:
    """Judge, print and keep the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--work", type=Path, default=Path("runs/style"))
    parser.add_argument("--draws", type=int, default=50)
    asked = parser.parse_args()
    record: dict[str, Any] = setting(shlex.join(["python", "-m", "bench.bench_verdicts", *sys.argv[1:]]))
    record |= {"steps": asked.steps, "draws": asked.draws, "found": []}
    power = newest_power()
    for style in STYLES:
        for seed in range(3):
            with tempfile.TemporaryDirectory() as folder:
                shown = look_at(style, seed, asked.work / f"{asked.steps}-steps", Path(folder))
            if shown is None:
                continue
            for count in NUM_PROMPTS:
                one = verdicts(shown, count, asked.draws, seed=count)
                named = {"style": style.name, "seed": seed, "prompts": count}
                shares = promised(power[f"{count}, one seed"], one["signal"], one["fall"])
                record["found"].append(
                    {**named, **one, **{f"promised {word}": shares[word] for word in shares}}
                )
    text = document(record)
    print(text)
    write_results("verdicts", record, text)


if __name__ == "__main__":
    main()
