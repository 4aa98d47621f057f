"""What a run will take: steps, epochs, minutes, memory and disk, before it starts."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass
from typing import Any

from veneer.config import Recipe
from veneer.errors import VeneerError
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir
from veneer.records.trainlog import read_steps
from veneer.web import markup
from veneer.web.studio import Studio
from veneer.web.workspace import disk_use

USUAL_PICTURES = 100
"""Pictures assumed where a search has yet to find them."""


@dataclass(frozen=True)
class EarlierRun:
    """What an earlier run of the same size took on this machine.

    Attributes:
        name: The run.
        seconds_a_step: Median seconds of an optimizer step.
        other_seconds: Seconds of all stages but train.
        peak_memory_gib: Highest memory of any stage, in GiB.
        disk: Bytes of its folder.
    """

    name: str
    seconds_a_step: float
    other_seconds: float
    peak_memory_gib: float
    disk: int


def plan_html(studio: Studio, recipe: Recipe) -> str:
    """The plan of a run: as `veneer train --plan` estimates it, or as an earlier run like it has shown.

    Raises:
        VeneerError: If the base's settings cannot be read.
    """
    from veneer.encoding.split import held_out_count
    from veneer.training.plan import plan_for

    known, measured = num_pictures(studio, recipe), like_it(studio, recipe)
    pictures = known or recipe.collect.limit or USUAL_PICTURES
    held_out = held_out_count(pictures, recipe.train.validation_share)
    plan = plan_for(recipe, max(1, pictures - held_out), held_out)
    pairs: list[tuple[str, object]] = [
        ("Steps", plan.steps),
        ("Pictures", f"{plan.pictures} trained on, {held_out} held out{'' if known else ' (assumed)'}"),
        ("Epochs", f"{plan.epochs:g}"),
        ("Trained numbers", f"{plan.trained_parameters:,}"),
    ]
    if measured is None:
        pairs += [("Time of training", f"about {markup.minutes(plan.hours * 3600)}")]
        pairs += [("Memory", f"about {plan.memory_gib:.1f} GiB")]
        pairs += [("Disk for checkpoints", markup.gib(plan.disk_gib * 2**30))]
    else:
        total = measured.seconds_a_step * plan.steps + measured.other_seconds
        pairs += [
            ("Time of all stages", markup.minutes(total)),
            ("Memory", f"{measured.peak_memory_gib:.1f} GiB"),
        ]
        pairs += [("Disk", markup.gib(measured.disk))]
    pairs.append(("Free on this disk", markup.gib(shutil.disk_usage(studio.workspace.root).free)))
    source = (
        f"Measured in {measured.name} on this machine." if measured else "Estimated; a first run measures it."
    )
    return f"<h4>The plan</h4>{markup.facts(pairs)}{markup.news(source)}"


def num_pictures(studio: Studio, recipe: Recipe) -> int:
    """Pictures in a recipe's sources, as far as these are folders here or bundled.

    Returns:
        How many; 0 where that is only known after collecting.
    """
    from veneer.data.sources import POCKET_PICTURES

    count = 0
    for source in recipe.collect.sources:
        try:
            folder = POCKET_PICTURES if source == "pocket" else studio.workspace.inside(source)
            count += len(Dataset(folder).picture_names())
        except VeneerError:
            return 0
    return min(count, recipe.collect.limit or count)


def like_it(studio: Studio, recipe: Recipe) -> EarlierRun | None:
    """The newest finished run with the same base, size and batch.

    Returns:
        What it took; None where there is none.
    """
    for name in studio.workspace.run_names():
        folder = studio.workspace.run(name)
        try:
            if folder.metrics_json.is_file() and _size(folder.read_recipe()) == _size(recipe):
                return _measured(name, folder)
        except (VeneerError, OSError, ValueError, KeyError, statistics.StatisticsError):
            continue
    return None


def _size(recipe: Recipe) -> tuple[Any, ...]:
    train = recipe.train
    effort = (train.train_batch_size, train.gradient_accumulation_steps, train.mixed_precision)
    return (recipe.base.model, recipe.encode.resolution, *effort)


def _measured(name: str, run: RunDir) -> EarlierRun:
    steps = read_steps(run.log_jsonl)
    seconds = statistics.median(one.seconds for one in steps if one.seconds is not None)
    stages = run.read_record().stages
    others = sum(entry.seconds for stage, entry in stages.items() if stage != "train")
    peak = max(entry.peak_memory_gib for entry in stages.values())
    return EarlierRun(name, seconds, others, peak, disk_use(run.root))
