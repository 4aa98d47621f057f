"""The document of `bench.bench_null`: false alarms, and which effect is found with how many prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.effects import along
from bench.machine import heading
from bench.null_pool import NUM_PROMPTS, NUM_STEPS

WORDS = ("not shown", "better", "worse", "trade")
Shares = Mapping[str, float]

ASSUMED = """\
What the resampling assumes: the comparisons of a column are drawn from one pool, so they are not independent
of each other, and say nothing of other bases, styles and embedders. A seed that turns all pictures the same
way comes back in many comparisons, so the shares vary more from pool to pool than the binomial law says. Each
comparison's own pictures are as in a run: subjects, seeds and held-out pictures without putting back, no seed
on both sides. Pictures have fewer steps than a run's. Captions that do not fit, noise and held-out loss,
which only keep a result from being `better`, are left out: the share of `better` is an upper bound."""

MIXED = """\
Each tuned picture went a part of the way from the base's pictures of its subject to the true picture, the
same for all seeds, so that variety stays; the effect is given as the share of the way from the base to the
held-out pictures that all comparisons of a row went together. *Gain* is what this is in the view of style
that sees most of it, in units of the gain that would just be sure: it holds for other styles too. Where
subjects are lost, each prompt had one chance in ten that its tuned pictures show another subject. Base and
tuned pictures start from different seeds here, from the same in a run, where less effect is enough; but
training differs more from prompt to prompt."""


def document(record: Mapping[str, Any]) -> str:
    """Both tables as Markdown."""
    found, effects = record["found"], record["effects"]
    lines = heading("The base against itself", record)
    lines += [
        f"{record['comparisons']} comparisons a column, out of a pool of {NUM_PROMPTS} subjects with "
        f"{record['seeds']} seeds each, {NUM_STEPS} steps a picture. A column's name is its number of "
        "prompts; they share three seeds, and twelve pictures are held out, where it does not say otherwise. "
        '"8 + 12" is the demo: twelve further prompts have two seeds of their own.',
        "",
        ASSUMED,
        "",
        "First the word, then how often all views of style together said nearer or further, then what "
        "decided, then how often the sure interval of a measure lay on one side of zero.",
        "",
        *_false_alarms(found),
        "",
        "## Which effect is found",
        "",
        f"{record['comparisons_of_effects']} comparisons a cell. {MIXED}",
        "",
        *_effects(effects),
        "",
        "Between these, how often it is shown to be nearer:",
        "",
        *_power(effects),
        "",
    ]
    return "\n".join(lines)


def _false_alarms(found: Mapping[str, Shares]) -> list[str]:
    names = {name for shares in found.values() for name in shares} - {
        "way",
        "fall",
        "signal",
        "style-same",
        *WORDS,
    }
    seen = [name for name in WORDS if any(name in shares for shares in found.values())]
    rows = [*seen, *sorted(names, key=lambda name: (name not in ("nearer", "further"), " " in name, name))]
    return [
        "| | " + " | ".join(found) + " |",
        "|---|" + "---:|" * len(found),
        *(
            f"| {row} | " + " | ".join(_percent(one.get(row, 0)) for one in found.values()) + " |"
            for row in rows
        ),
    ]


def _effects(effects: Mapping[str, Mapping[str, Shares]]) -> list[str]:
    kept = ("prompt-fell", "prompt-unsure", "subject-lost", "subject-unsure", "variety-unsure", "memorised")
    named = [name for name in kept if any(name in one for by in effects.values() for one in by.values())]
    columns = [
        "prompts",
        "share of the way",
        "gain",
        "subjects lost",
        "`better`",
        "shown to be nearer",
        *named,
    ]
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return lines + [
        f"| {prompts} | {_percent(one['way'], 0)} | {one['signal']:.2f} | {_percent(one['fall'], 0)} | "
        + " | ".join(_percent(one.get(name, 0), 0) for name in ("better", "nearer", *named))
        + " |"
        for prompts, by_pull in effects.items()
        for one in by_pull.values()
    ]


def power(by_pull: Mapping[str, Shares]) -> tuple[int, int, int]:
    """How often, in per cent, a third, two thirds and the whole of the way are shown to be nearer.

    Rows where subjects are lost (their name ends in a chance above 0) are left out.
    """
    rows = [one for name, one in by_pull.items() if not float(name.partition(", ")[2] or 0)]
    third, most, whole = (round(100 * along(rows, "way", way)["nearer"]) for way in (1 / 3, 2 / 3, 1.0))
    return third, most, whole


def _power(effects: Mapping[str, Mapping[str, Shares]]) -> list[str]:
    lines = ["| prompts | a third of the way | two thirds | the whole way |", "|---|---:|---:|---:|"]
    shares = {name: power(by_pull) for name, by_pull in effects.items()}
    return lines + [f"| {name} | {' | '.join(f'{one} %' for one in row)} |" for name, row in shares.items()]


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"
