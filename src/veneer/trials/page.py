"""The page of a sweep: table, intervals, parallel coordinates, pictures, and the recipe to copy."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from veneer.config import Recipe
from veneer.proof.sheet import Group, draw_sheet
from veneer.recipe import recipe_of, to_toml
from veneer.records.files import write_bytes, write_json, write_text
from veneer.records.sweeps import SweepDir
from veneer.stages.report import render
from veneer.trials.charts import draw_intervals, draw_parallel
from veneer.trials.looking import pairs_of_trial
from veneer.trials.ranking import Standing
from veneer.trials.trial import trial_recipe

MOST_PROMPTS = 8
"""Prompts on the sheet of pictures."""


def write_page(
    folder: SweepDir, recipe: Recipe, standings: Sequence[Standing], keys: Sequence[str], confirmed: str
) -> None:
    """Write ``report/`` and the best trial's ``recipe.toml``.

    Args:
        recipe: The sweep's.
        standings: All trials, best first.
        keys: What was varied.
        confirmed: What the verdict said of the best one.
    """
    rows = [row_of(one) for one in standings]
    write_json(folder.table_json, {"confirmed": confirmed, "trials": rows})
    ranked = [one for one in standings if one.is_ranked]
    grid, text = "", ""
    if ranked:
        text = to_toml(to_copy(recipe, ranked[0]))
        write_text(folder.recipe_toml, text)
        sheet = draw_sheet(_groups(folder, recipe, ranked[:2]), "The base, the best trial and the runner-up")
        write_bytes(folder.grid_png, sheet)
        grid = "data:image/png;base64," + base64.b64encode(sheet).decode()
    context = {
        "name": folder.root.resolve().name,
        "confirmed": confirmed,
        "keys": list(keys),
        "rows": rows,
        "intervals": draw_intervals(standings),
        "parallel": draw_parallel(standings, keys),
        "grid": grid,
        "recipe_text": text,
        "settings": [f"--set {key}={value}" for key, value in _taken(ranked).items()],
        "looks": len(ranked),
        "judged": f"trials/{ranked[0].trial.name}/report/index.html" if ranked else "",
    }
    write_text(folder.index_html, render("sweep.html.jinja", context))


def to_copy(recipe: Recipe, best: Standing) -> Recipe:
    """The best trial's recipe at the strength that was taken for it."""
    scale = [] if best.scale is None else [f"compare.scale={best.scale}"]
    return recipe_of(trial_recipe(recipe, best.trial.settings), scale)


def row_of(one: Standing) -> dict[str, Any]:
    """A trial as plain data."""
    return {
        "name": one.trial.name,
        "settings": dict(one.trial.settings),
        "state": one.trial.state,
        "why": one.trial.why,
        "seconds": one.trial.seconds,
        "scale": one.scale,
        "style": one.style.gain if one.style else None,
        "interval": list(one.interval) if one.interval else None,
        "prompt": one.prompt.gain if one.prompt else None,
        "lost": list(one.lost),
        "held_out_loss": one.held_out_loss,
        "words": one.words,
    }


def _taken(ranked: Sequence[Standing]) -> Mapping[str, str]:
    return ranked[0].trial.settings if ranked else {}


def _groups(folder: SweepDir, recipe: Recipe, shown: Sequence[Standing]) -> list[Group]:
    """The prompts that chose, each by the base, the best and the runner-up."""
    drawn = {}
    for one in shown:
        own = trial_recipe(recipe, one.trial.settings)
        drawn[one.trial.name] = pairs_of_trial(folder, one.trial, own, one.scale or 1.0)
    first = drawn[shown[0].trial.name]
    groups = []
    for prompt in list(dict.fromkeys(pair.prompt for pair in first))[:MOST_PROMPTS]:
        rows = {"base": [pair.base for pair in first if pair.prompt == prompt]}
        rows |= {name: [one.tuned for one in pairs if one.prompt == prompt] for name, pairs in drawn.items()}
        groups.append(Group(prompt, rows))
    return groups
