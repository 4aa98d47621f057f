"""What a run will take: steps, epochs, minutes, memory and disk, before it starts."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veneer.config import Recipe
from veneer.errors import VeneerError
from veneer.hubnames import split_revision
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir
from veneer.records.trainlog import read_steps
from veneer.web import markup
from veneer.web.studio import Studio
from veneer.web.workspace import disk_use

if TYPE_CHECKING:
    from veneer.training.plan import Plan

USUAL_PICTURES = 100
"""Pictures assumed where a search has yet to find them."""
STEPS_COUNTED = 1000
"""Steps that a plan is kept for; those of the form are scaled from it."""
_SD15, _SDXL = "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl-base-1.0"


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
    plan = plan_for(by_bundled_settings(recipe), max(1, pictures - held_out), held_out)
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


def takes_html(studio: Studio, recipe: Recipe) -> str:
    """Minutes and memory of a training in a line, without the network: counted once for a base and size.

    Returns:
        HTML; where the base's settings would have to be fetched first, how to have that done.
    """
    steps, measured = recipe.train.max_train_steps, like_it(studio, recipe)
    if measured:
        seconds, memory = measured.seconds_a_step * steps, measured.peak_memory_gib
    else:
        planned = by_bundled_settings(recipe)
        if looks_like_hub(planned.base.model):
            return _quiet("Minutes and memory: press “Show the plan”, which asks the hub about this base.")
        try:
            plan = _plan_of(_what_counts(planned).model_dump_json())
        except VeneerError as error:
            return _quiet(f"Minutes and memory are not known: {error.what}.")
        seconds, memory = plan.hours * 3600 / STEPS_COUNTED * steps, plan.memory_gib
    pictures = num_pictures(studio, recipe)
    batch = recipe.train.train_batch_size * recipe.train.gradient_accumulation_steps
    pairs: list[tuple[str, object]] = [
        ("Training", f"about {markup.minutes(seconds)}"),
        ("Memory", f"about {memory:.1f} GiB"),
        ("Each picture is seen", f"{steps * batch / pictures:.0f} times" if pictures else "not known yet"),
        ("By", f"the run {measured.name}" if measured else "an estimate"),
    ]
    return markup.facts(pairs)


def by_bundled_settings(recipe: Recipe) -> Recipe:
    """A recipe to plan by: bases of known layout are counted by the settings that come with Veneer.

    Returns:
        The recipe; where its base is Stable Diffusion 1.5 or SDXL of the hub, one that needs no file of it.
    """
    from veneer.models.families.sd import SD1_SETTINGS
    from veneer.models.families.sdxl import SDXL_SETTINGS
    from veneer.models.modelfiles import current_name

    known = {_SD15: SD1_SETTINGS, _SDXL: SDXL_SETTINGS}
    settings = known.get(current_name(split_revision(recipe.base.model)[0]))
    if settings is None:
        return recipe
    base = recipe.base.model_copy(update={"model": str(settings), "vae": str(settings / "vae")})
    return recipe.model_copy(update={"base": base})


def looks_like_hub(model: str) -> bool:
    """Whether a base is not on this machine, by its name alone."""
    from veneer.models.modelfiles import looks_like_path

    return model != "pocket" and not Path(model).expanduser().exists() and not looks_like_path(model)


def _what_counts(recipe: Recipe) -> Recipe:
    """A recipe with nothing in it but what minutes and memory of a step depend on."""
    train = recipe.train.model_copy(
        update={"max_train_steps": STEPS_COUNTED, "learning_rate": 1e-4, "seed": 0, "patience": None}
    )
    return Recipe(base=recipe.base, encode=recipe.encode, lora=recipe.lora, train=train)


@lru_cache(maxsize=64)
def _plan_of(recipe: str) -> Plan:
    """The plan of a recipe, as JSON: counting a base's operations takes seconds."""
    from veneer.training.plan import plan_for

    return plan_for(Recipe.model_validate_json(recipe), USUAL_PICTURES, 0)


def _quiet(text: str) -> str:
    return f'<p class="v-quiet">{markup.escaped(text)}</p>'


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
