"""The style bench's document: each system against the base and the plain loop, with intervals."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import machine_name
from bench.style_systems import BASE, TRUTH, Plan, Scores, recommended, settings_of, steps_of
from pocket.draw import contact_sheet
from veneer.machine import hardware
from veneer.records.files import write_text
from veneer.stats import Measure, paired
from veneer.versions import versions

RESULTS = Path(__file__).parent / "results"
ALL_STYLES = "all styles"
TITLES = {
    TRUTH: "the truth itself",
    BASE: "base, best prompt",
    "plain": "plain loop",
    "veneer": "Veneer",
    "veneer-third": "Veneer, a third of the steps",
    "plain-report": "plain loop, the report's settings",
}
MEASURES = {
    "similarity": "similarity to the true picture",
    "first": "true picture ranked first",
    "styled": "style recognised",
    "style": "style, log odds",
    "texture": "texture, distance to the style's",
    "prompt": "CLIP-T",
    "subject": "subject found",
    "drift": "drift",
}
"""Title of each measure."""
LOWER = ("texture", "drift")
"""Measures that are better when lower."""
REFERENCES = (BASE, "plain")
SHARES = ("first", "styled", "subject")

EXPLANATION = """Means over subjects and seeds. *Similarity* and *ranked first* hold a picture against the
true picture of the same subject, and against those of all subjects, through a judge that was trained on real
drawings and is no part of the base; *style recognised* and its log odds are the judge's too. *Texture* asks
no network: it is the distance of differences between near pixels from those of the true pictures, in their
own deviations. *CLIP-T* and *subject found* ask the bundled CLIP for the subject without a style word.
*Drift* is the cosine distance to the base's own pictures on prompts outside the style. *The truth itself*
tells what can be reached."""
UNITS = """Differences with 95 % bootstrap intervals; shares in percentage points. The unit is the subject in
a style, averaged over the seeds; for the drift it is the general prompt in a style."""


@dataclass(frozen=True)
class Measured:
    """A system on one style and seed.

    Attributes:
        scores: What its pictures are worth.
        seconds: Seconds of training.
        word: Style word of its prompts.
    """

    scores: Scores
    seconds: float
    word: str


Found = Mapping[str, Mapping[str, Mapping[str, Measured]]]
"""What was measured, by style, seed and system."""
Summary = dict[str, dict[str, dict[str, Measure]]]
"""Measures by style, system and name."""


def summarise(found: Found, systems: Sequence[str], against: str) -> Summary:
    """Every system against one, paired subject by subject.

    Args:
        against: The system that stands in the place of the base.

    Returns:
        Measures for each style and for all styles together. The unit is the subject in a style, averaged over
        the seeds; for the drift it is the general prompt.
    """
    others = [system for system in systems if system != against]
    groups = {style: [style] for style in found}
    if len(found) > 1:
        groups[ALL_STYLES] = list(found)
    return {
        title: {
            system: {name: _measure(found, styles, system, against, name) for name in MEASURES}
            for system in others
        }
        for title, styles in groups.items()
    }


def _measure(found: Found, styles: Sequence[str], system: str, against: str, name: str) -> Measure:
    base, tuned, units = [], [], []
    for style in styles:
        for systems in found[style].values():
            base += getattr(systems[against].scores, name)
            tuned += getattr(systems[system].scores, name)
            units += [(style, number) for number in range(len(getattr(systems[system].scores, name)))]
    unit = "general prompts" if name == "drift" else "subjects"
    return paired(base, tuned, units, better="lower" if name in LOWER else "higher", unit=unit)


def table(plan: Plan, found: Found) -> str:
    """The style bench's table in Markdown.

    Returns:
        One row for each style and system; means, and how often a system is nearer to the style than the base.
    """
    summary = summarise(found, (BASE, *plan.systems), BASE)
    head = ["style", "system", "steps", *MEASURES.values(), "nearer to the style than the base", "in texture"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for style, systems in summary.items():
        first = next(iter(systems.values()))
        cells = [number(first[name].base, name) for name in MEASURES]
        lines.append(f"| {style} | {TITLES[TRUTH]} | | {_truth_cells(found, style)} | | |")
        lines.append(f"| | {TITLES[BASE]} | 0 | " + " | ".join(cells) + " | | |")
        for system, measures in systems.items():
            cells = [number(measures[name].tuned, name) for name in MEASURES]
            wins = [f"{100 * (measures[name].wins or 0):.0f} % of subjects" for name in ("style", "texture")]
            row = " | ".join([TITLES[system], str(steps_of(system, plan)), *cells, *wins])
            lines.append(f"| | {row} |")
    return "\n".join(lines)


def _truth_cells(found: Found, style: str) -> str:
    """Means of the true pictures themselves, which bound what can be reached; they have no drift."""
    styles = list(found) if style == ALL_STYLES else [style]
    truths = [next(iter(found[one].values()))[TRUTH].scores for one in styles]
    values = {name: [value for scores in truths for value in getattr(scores, name)] for name in MEASURES}
    return " | ".join(number(float(np.mean(one)), name) if one else "" for name, one in values.items())


def differences(plan: Plan, found: Found, against: str) -> str:
    """Differences of the other systems from one, with intervals.

    Args:
        against: The system that they are held against.

    Returns:
        A table in Markdown: difference and 95 % interval of each measure.
    """
    head = ["style", "system", *MEASURES.values()]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * len(MEASURES)]
    for style, systems in summarise(found, (BASE, *plan.systems), against).items():
        for system, measures in systems.items():
            if system != BASE:
                cells = [_difference(measures[name], name) for name in MEASURES]
                lines.append(f"| {style} | {TITLES[system]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value: float, name: str) -> str:
    """Write a mean of a measure.

    Returns:
        A share in per cent, anything else with three decimals.
    """
    return f"{100 * value:.0f} %" if name in SHARES else f"{value:.3f}"


def _difference(measure: Measure, name: str) -> str:
    factor, digits = (100, 0) if name in SHARES else (1, 3)
    middle = f"{factor * measure.delta:+.{digits}f}"
    if measure.ci95 is None:
        return f"{middle} (no interval)"
    low, high = (f"{factor * one:+.{digits}f}" for one in measure.ci95)
    return f"{middle} ({low} to {high})"


def document(plan: Plan, found: Found) -> str:
    """The results as a document.

    Returns:
        Markdown.
    """
    seeds = "seed" if len(plan.seeds) == 1 else "seeds"
    machine = hardware()
    parts = [
        f"# The style bench: {plan.steps} steps, {plan.num_subjects} subjects, {len(plan.seeds)} {seeds}",
        table(plan, found),
        EXPLANATION,
        "## Against the base with its best prompt",
        differences(plan, found, BASE),
    ]
    if "plain" in plan.systems:
        parts += ["## Against the plain loop", differences(plan, found, "plain")]
    where = f"{machine['processor']}, {machine['cores']} cores"
    parts += [UNITS, f"Mean seconds of training: {_seconds(plan, found)}.", f"{command(plan)} on {where}."]
    return "\n\n".join(parts) + "\n"


def _seconds(plan: Plan, found: Found) -> str:
    means = {
        system: np.mean([systems[system].seconds for seeds in found.values() for systems in seeds.values()])
        for system in plan.systems
    }
    return ", ".join(f"{TITLES[system]} {seconds:.0f}" for system, seconds in means.items())


def command(plan: Plan) -> str:
    """The command that made the results.

    Returns:
        A sentence in Markdown.
    """
    seeds = " ".join(map(str, plan.seeds))
    return f"Made by `python -m bench.bench_style --steps {plan.steps} --seeds {seeds}`"


def write_results(plan: Plan, found: Found, sheet: Sequence[np.ndarray]) -> Path:
    """Write the results as a document with its numbers and its sheet of pictures.

    Args:
        sheet: Rows of pictures.
    """
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    stem = RESULTS / f"style_{machine_name()}_{date}"
    RESULTS.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(_plain(plan, found), ensure_ascii=False, separators=(",", ":"))
    write_text(stem.with_suffix(".json"), numbers + "\n")  # thousands of them: a line each would be megabytes
    contact_sheet(np.concatenate(sheet), len(sheet[0])).save(stem.with_suffix(".png"), optimize=True)
    rows = ", ".join(["the truth", *(TITLES[system] for system in (BASE, *plan.systems))])
    write_text(
        stem.with_suffix(".md"), f"{document(plan, found)}\n![Rows by style: {rows}]({stem.name}.png)\n"
    )
    return stem.with_suffix(".md")


def _plain(plan: Plan, found: Found) -> dict[str, Any]:
    systems = (BASE, *plan.systems)
    return {
        "setting": {
            "command": command(plan),
            "hardware": hardware(),
            "versions": versions(),
            "recipe": recommended(plan.steps, 0).model_dump(mode="json"),
            "arms": {system: settings_of(system, plan, 0) for system in plan.systems},
            "num_subjects": plan.num_subjects,
        },
        "table": table(plan, found),
        "against": {
            other: _plain_summary(summarise(found, systems, other))
            for other in systems
            if other in REFERENCES
        },
        "measured": {
            style: {
                seed: {system: asdict(one) for system, one in by_system.items()}
                for seed, by_system in seeds.items()
            }
            for style, seeds in found.items()
        },
    }


def _plain_summary(summary: Summary) -> dict[str, Any]:
    return {
        style: {
            system: {name: one.plain() for name, one in measures.items()}
            for system, measures in by_system.items()
        }
        for style, by_system in summary.items()
    }
