"""The ruler: customising measured against truth, on four styles that the pocket base never saw.

    python -m bench.bench_style [--steps 300] [--seeds 3] [--styles openmoji ...] [--work FOLDER]

For each style and seed: learn from 48 pictures, then ask for 48 other subjects whose true pictures exist.
Arms: the base with its best prompt; Veneer's recipe; the same in a third of the steps; the plain loop at the
report's settings; the plain loop at Veneer's learning rate and batch. Finished arms are kept in the work
folder, so the same command goes on. Writes ``bench/results/style_HARDWARE_DATE.{json,md}``; the sheets of
pictures stay in the work folder.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.ruler import NUM_SUBJECTS, STYLES, Style, Task, build_task, write_dataset
from bench.ruler_arms import ARMS, Plan, Scores, best_word, general_features, recommended, score, train_arm
from pocket.draw import contact_sheet
from veneer.config import Recipe
from veneer.launch import set_threads
from veneer.models.drawing import Easel, set_up, take_off, wear
from veneer.models.embedder import Embedder, load_embedder
from veneer.rundir import write_json, write_text
from veneer.stats import Measure, paired
from veneer.versions import hardware, versions

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "base": "base, best prompt",
    "veneer": "Veneer",
    "veneer-third": "Veneer, a third of the steps",
    "plain-report": "plain loop, the report's settings",
    "plain-tuned": "plain loop, Veneer's learning rate and batch",
}
MEASURES = {
    "similarity": "similarity to the true picture",
    "first": "true picture ranked first",
    "style": "style, log odds",
    "styled": "style recognised",
    "prompt": "CLIP-T",
    "subject": "subject retrieved by CLIP",
    "drift": "drift on general prompts",
}


def measure_style(plan: Plan, style: Style, easel: Easel, clip: Embedder) -> dict[str, dict[str, Scores]]:
    """Every arm on one style, seed by seed; finished seeds are read from the work folder.

    Args:
        plan: What the bench is asked for.
        style: The style.
        easel: The base.
        clip: The bundled CLIP.

    Returns:
        Scores by seed and arm.
    """
    by_seed = {}
    for seed in plan.seeds:
        folder = plan.work / f"{plan.steps}-steps" / style.name / f"seed-{seed}"
        kept = folder / "scores.json"
        if not kept.is_file():
            task = build_task(style, seed, easel.native_px, plan.num_subjects)
            write_dataset(task, folder / "data")
            found = _score_arms(plan, task, seed, folder, easel=easel, clip=clip)
            write_json(kept, {arm: asdict(one) for arm, one in found.items()})
        stored = json.loads(kept.read_text())
        by_seed[str(seed)] = {arm: Scores(**stored[arm]) for arm in ("base", *ARMS)}
        print(f"{style.name}, seed {seed}: {_line(by_seed[str(seed)])}", flush=True)
    return by_seed


def _score_arms(
    plan: Plan, task: Task, seed: int, folder: Path, *, easel: Easel, clip: Embedder
) -> dict[str, Scores]:
    take_off(easel)
    word, general = best_word(easel, task), general_features(easel, clip)
    base, drawn = score(easel, clip, task, word, general=None, seconds=0.0)
    found, rows = {"base": base}, [task.true_pictures(task.asked), drawn]
    for arm in ARMS:
        lora, seconds = train_arm(arm, plan, task, seed, folder)
        wear(easel, lora)
        scores, drawn = score(easel, clip, task, task.style.word, general=general, seconds=seconds)
        take_off(easel)
        found[arm] = scores
        rows.append(drawn)
    contact_sheet(np.concatenate([row[:16] for row in rows]), 16).save(folder / "sheet.png")
    return found


def _line(arms: dict[str, Scores]) -> str:
    return ", ".join(f"{arm} {np.mean(scores.similarity):.3f}" for arm, scores in arms.items())


def summarise(by_seed: dict[str, dict[str, Scores]], against: str) -> dict[str, dict[str, Measure]]:
    """Every arm against one, paired subject by subject over all seeds.

    Args:
        by_seed: Scores by seed and arm.
        against: The arm that stands in the place of the base.

    Returns:
        Measures by arm and name; subjects are the unit, general prompts for the drift.
    """
    seeds = list(by_seed.values())
    found: dict[str, dict[str, Measure]] = {}
    for arm in ("base", *ARMS):
        if arm == against:
            continue
        found[arm] = {}
        for name in MEASURES:
            tuned = [value for seed in seeds for value in getattr(seed[arm], name)]
            base = [value for seed in seeds for value in getattr(seed[against], name)]
            if name == "drift" and len(base) != len(tuned):
                base = [0.0] * len(tuned)
            per_seed = len(tuned) // len(seeds)
            units = [number % per_seed for number in range(len(tuned))]
            better = "lower" if name == "drift" else "higher"
            found[arm][name] = paired(base, tuned, units, better=better, unit="subjects")
    return found


def table(summary: dict[str, dict[str, dict[str, Measure]]]) -> str:
    """The ruler's table in Markdown.

    Args:
        summary: Measures by style, arm and name, against the base.

    Returns:
        One row for each style and arm.
    """
    head = ["style", "arm", *MEASURES.values(), "nearer to the style than the base in"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for style, arms in summary.items():
        first = next(iter(arms.values()))
        cells = [f"{first[name].base:.3f}" for name in MEASURES]
        lines.append(f"| {style} | {TITLES['base']} | " + " | ".join(cells) + " | |")
        for arm, measures in arms.items():
            cells = [_cell(measures[name]) for name in MEASURES]
            wins = measures["style"].wins
            lines.append(f"| | {TITLES[arm]} | " + " | ".join(cells) + f" | {100 * (wins or 0):.0f} % |")
    return "\n".join(lines)


def _cell(measure: Measure) -> str:
    if measure.ci95 is None:
        return f"{measure.tuned:.3f}"
    return f"{measure.tuned:.3f} ({measure.ci95[0]:+.3f} to {measure.ci95[1]:+.3f})"


def main() -> None:
    """Read the command line, measure, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--styles", nargs="+", default=[style.name for style in STYLES])
    parser.add_argument("--subjects", type=int, default=NUM_SUBJECTS)
    parser.add_argument("--work", type=Path, default=Path("runs/ruler"))
    asked = parser.parse_args()
    chosen = tuple(style for style in STYLES if style.name in asked.styles)
    plan = Plan(asked.steps, tuple(range(asked.seeds)), chosen, asked.work, asked.subjects)
    set_threads()
    recipe = recommended(plan.steps, 0)
    easel = set_up("pocket", recipe.generate)
    clip = load_embedder("pocket")
    scores = {style.name: measure_style(plan, style, easel, clip) for style in plan.styles}
    write_results(plan, scores, recipe)


def write_results(plan: Plan, scores: dict[str, dict[str, dict[str, Scores]]], recipe: Recipe) -> None:
    """Write the results as a document.

    Args:
        plan: What the bench was asked for.
        scores: Scores by style, seed and arm.
        recipe: Veneer's recipe.
    """
    against_base = {style: summarise(by_seed, "base") for style, by_seed in scores.items()}
    against_plain = {style: summarise(by_seed, "plain-tuned") for style, by_seed in scores.items()}
    machine = hardware()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    stem = RESULTS / f"style_{machine['cores']}core-{platform.machine()}_{date}"
    setting = {
        "command": f"python -m bench.bench_style --steps {plan.steps} --seeds {len(plan.seeds)}",
        "hardware": machine,
        "versions": versions(),
        "recipe": recipe.model_dump(mode="json"),
        "num_subjects": plan.num_subjects,
    }
    whole = {
        "setting": setting,
        "against_base": _plain(against_base),
        "against_plain_tuned": _plain(against_plain),
        "scores": {
            s: {n: {a: asdict(o) for a, o in arms.items()} for n, arms in seeds.items()}
            for s, seeds in scores.items()
        },
    }
    write_json(stem.with_suffix(".json"), whole)
    seeds = "seed" if len(plan.seeds) == 1 else "seeds"
    text = (
        f"# The ruler: {plan.steps} steps, {plan.num_subjects} subjects, {len(plan.seeds)} {seeds}\n\n"
        f"{table(against_base)}\n\n"
        "Mean, and in brackets the 95 % interval of the difference from the base (subjects are the unit). "
        "CLIP-T and retrieval ask for the subject without a style word. "
        f"Made by `{setting['command']}` on {machine['processor']}, {machine['cores']} cores.\n"
    )
    write_text(stem.with_suffix(".md"), text)
    print(text)


def _plain(summary: dict[str, dict[str, dict[str, Measure]]]) -> dict[str, object]:
    return {
        style: {arm: {name: one.plain() for name, one in measures.items()} for arm, measures in arms.items()}
        for style, arms in summary.items()
    }


if __name__ == "__main__":
    main()
