"""``veneer run --dry-run``: what would be done, what it takes and what it needs, in ten lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veneer.cli.output import print_json

if TYPE_CHECKING:
    from veneer.config import Recipe
    from veneer.preflight import Need
    from veneer.training.plan import Plan

PICTURES_GUESSED = 60
"""Pictures that a plan counts with before any were collected; only the disk depends on it."""
WORTH_TELLING = 0.9
"""Share of the memory below which a way to take less is told."""


def dry_run(recipe: Recipe, folder: Path, redo: list[str], *, as_json: bool, with_recipe: bool) -> int:
    """Print the plan of a run; 1 where something that it needs is missing."""
    from veneer.changes import stages_to_do
    from veneer.hubnames import asked_revisions
    from veneer.preflight import needs_of
    from veneer.recipe import to_toml
    from veneer.records.run import RunDir
    from veneer.stage import STAGE_NAMES
    from veneer.unused_settings import unused_settings

    to_do = stages_to_do(RunDir(folder), recipe, redo)
    needs = needs_of(RunDir(folder), recipe, to_do)
    asked, unused = asked_revisions(recipe), {one.key: one.message for one in unused_settings(recipe)}
    status = int(any(need.state == "missing" for need in needs))
    if as_json:
        stages = {name: "to do" if name in to_do else "done" for name in STAGE_NAMES}
        told: dict[str, Any] = {
            "recipe": recipe.model_dump(mode="json"),
            "run": str(folder),
            "stages": stages,
        }
        print_json(told | {"unused": unused, "asked": dict(asked), "needs": needs})
        return status
    lines = [
        f"run folder: {folder}",
        *_stages(to_do),
        *_training(recipe, _plan(recipe, needs)),
        *(f"needs {need.words}{f' ({need.todo})' if need.todo else ''}" for need in needs),
        *(f"{key} from the hub, {words}" for key, words in asked.items()),
        *unused.values(),
    ]
    if with_recipe:
        print(to_toml(recipe))
    print("\n".join(f"# {line}" if with_recipe else line for line in lines))
    return status


def _stages(to_do: tuple[str, ...]) -> Iterator[str]:
    from veneer.stage import STAGE_NAMES

    done = [name for name in STAGE_NAMES if name not in to_do]
    yield f"to do: {', '.join(to_do) or 'nothing'}"
    if done:
        yield f"done:  {', '.join(done)}"


def _plan(recipe: Recipe, needs: tuple[Need, ...]) -> Plan | None:
    """What training will take; None where the base's own settings are not on this machine."""
    from veneer.training.plan import plan_for

    if any(need.what == "base" and need.state != "here" for need in needs):
        return None
    return plan_for(recipe, recipe.collect.limit or PICTURES_GUESSED, 0)


def _training(recipe: Recipe, plan: Plan | None) -> Iterator[str]:
    train, lora = recipe.train, recipe.lora
    per_step = train.train_batch_size * train.gradient_accumulation_steps
    yield (
        f"training: {train.max_train_steps} steps of {per_step} at {recipe.encode.resolution} px; "
        f"{lora.target_modules}, rank {lora.rank}, rate {train.learning_rate:g}"
    )
    if plan is None:
        yield "takes: not known before the base is here"
    else:
        yield (
            f"takes: about {time_words(plan.hours)} of training, {plan.memory_gib:.1f} GiB of memory, "
            f"{plan.disk_gib:.2f} GiB of disk"
        )
        if plan.int8_gib < plan.memory_gib * WORTH_TELLING:
            yield f'with train.base_weights = "int8": {plan.int8_gib:.1f} GiB of memory'


def time_words(hours: float) -> str:
    """Hours in words: "3 minutes", "2.5 hours"."""
    minutes = max(1, round(60 * hours))
    return f"{minutes} {'minute' if minutes == 1 else 'minutes'}" if minutes < 120 else f"{hours:.1f} hours"
