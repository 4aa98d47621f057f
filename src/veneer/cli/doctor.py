"""``veneer doctor``: what this machine has, and what it can do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from veneer.cli.dryrun import time_words
from veneer.cli.options import Json
from veneer.cli.output import print_json

PICTURES = 60
"""Pictures that the advice counts with."""


def doctor(as_json: Json = False) -> int:
    """Show versions, hardware, precision, disk and the extras that are installed."""
    facts = _facts()
    if as_json:
        print_json(facts | {"advice": list(_advice())})
        return 0
    for section, values in facts.items():
        print(section)
        for key, value in values.items():
            print(f"  {key:<22} {value}")
    print("advice")
    for line in _advice():
        print(f"  {line}")
    return 0


def _advice() -> Iterator[str]:
    """What this machine can train, by the bundled recipes; the larger is counted, not loaded."""
    from veneer.models.families.sd import SD1_SETTINGS
    from veneer.recipe import load_recipe
    from veneer.training.machine_limits import this_machine
    from veneer.training.plan import plan_for

    own = ["base.model=" + str(SD1_SETTINGS), "base.vae=" + str(SD1_SETTINGS / "vae")]
    machine = this_machine()
    room = machine.free_gib or _free_memory_gib()
    for name, settings in (("pocket-8bit", []), ("sd15-style", own)):
        recipe = load_recipe(name, settings)
        plan = plan_for(recipe, PICTURES, 0)
        fits = "fits" if plan.memory_gib <= room else f"does not fit the {room:.0f} GiB that are free"
        yield (
            f"{name}: {recipe.train.max_train_steps} steps of {recipe.train.train_batch_size} at "
            f"{recipe.encode.resolution} px take about {time_words(plan.hours)} and "
            f"{plan.memory_gib:.1f} GiB, which {fits}"
        )
        if plan.memory_gib > room:
            small = ["train.train_batch_size=1", "train.gradient_checkpointing=true"]
            less = plan_for(load_recipe(name, [*settings, *small]), PICTURES, 0)
            yield f"  with --set {small[0]} --set {small[1]}: {less.memory_gib:.1f} GiB"
    if machine.kind == "cpu":
        yield "no GPU: begin with `veneer run pocket-8bit`, which trains the bundled base on the processor"


def _free_memory_gib() -> float:
    from veneer.machine import free_memory

    return free_memory() / 2**30


def _facts() -> dict[str, dict[str, object]]:
    from veneer.machine import hardware
    from veneer.versions import versions

    return {
        "versions": dict(versions()),
        "machine": dict(hardware()) | _precision() | {"free_disk_gib": _free_disk_gib()},
        "extras": _extras(),
    }


def _precision() -> dict[str, object]:
    import torch

    from veneer.machine import pick_device
    from veneer.training.machine_limits import this_machine

    return {
        "device": str(pick_device()),
        "torch_threads": torch.get_num_threads(),
        "bf16": this_machine().has_bf16,
    }


def _free_disk_gib() -> float:
    return round(shutil.disk_usage(Path.cwd()).free / 2**30, 1)


def _extras() -> dict[str, object]:
    from importlib.util import find_spec

    from veneer.tracking import TRACKERS
    from veneer.training.optimizers import OPTIMIZERS

    needed: dict[str, str] = {name: spec.module for name, spec in OPTIMIZERS.items() if spec.package}
    trackers = {name: name for name in TRACKERS}
    extras = {"web": "gradio", "hub": "datasets", **trackers, **needed}
    return {name: "installed" if find_spec(module) else "not installed" for name, module in extras.items()}
