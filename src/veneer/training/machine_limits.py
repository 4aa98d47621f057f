"""What a recipe asks for and this machine cannot do: the next best path, named in a line at the start.

The recipe itself stays as it is, and so does the identity of the run: another machine may do better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from veneer import machine
from veneer.config import Recipe
from veneer.events import Notice, OnEvent, ignore
from veneer.machine import has_bf16_instructions
from veneer.training import STAGE

SPARE_SHARE = 0.9
"""Share of an accelerator's free memory that a training may plan with."""


@dataclass(frozen=True)
class Machine:
    """What the choice depends on.

    Attributes:
        kind: Kind of device: "cpu", "cuda" or "mps".
        name: Its name, for the line.
        has_bf16: Whether it computes in bfloat16.
        free_gib: Free memory of the accelerator in GiB, or None where it is not known.
    """

    kind: str
    name: str
    has_bf16: bool
    free_gib: float | None


def this_machine() -> Machine:
    """Look at the machine.

    Returns:
        What it is.
    """
    device = machine.pick_device()
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] / 2**30
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine("cuda", torch.cuda.get_device_name(device), has_bf16, free)
    has_bf16 = device.type == "cpu" and has_bf16_instructions()
    return Machine(device.type, device.type.upper(), has_bf16, None)


def fit_to_machine(
    recipe: Recipe, machine: Machine, memory_gib: Callable[[Recipe], float], on_event: OnEvent
) -> Recipe:
    """Change what this machine cannot do, and say so.

    Args:
        memory_gib: Estimates what a recipe takes, in GiB; asked on a GPU alone.

    Returns:
        The recipe to train by.
    """
    recipe = fit_precision(recipe, machine, on_event)
    return _fit_memory(recipe, machine, memory_gib, on_event)


def fit_precision(recipe: Recipe, machine: Machine, on_event: OnEvent = ignore) -> Recipe:
    """The recipe in the precision that this machine trains in, if that is another one."""
    wanted = recipe.train.mixed_precision
    match machine.kind:
        case "mps" if wanted != "no":
            why = f"{wanted} is not trained with on Apple's GPU: the base runs in float32"
            return _changed(recipe, "precision", why, on_event, mixed_precision="no")
        case "cuda" if wanted == "bf16" and not machine.has_bf16:
            why = f"{machine.name} has no bf16: the base runs in fp16, with the loss scaled"
            return _changed(recipe, "precision", why, on_event, mixed_precision="fp16")
        case "cpu" if wanted == "bf16" and not machine.has_bf16:
            why = (
                "this processor has no bf16 instructions, and torch's stand-in is many times slower: float32"
            )
            return _changed(recipe, "precision", why, on_event, mixed_precision="no")
    return recipe


def _fit_memory(
    recipe: Recipe, machine: Machine, memory_gib: Callable[[Recipe], float], on_event: OnEvent
) -> Recipe:
    if machine.free_gib is None or recipe.train.gradient_checkpointing:
        return recipe
    needed = memory_gib(recipe)
    if needed <= SPARE_SHARE * machine.free_gib:
        return recipe
    why = (
        f"about {needed:.1f} GiB are needed and {machine.free_gib:.1f} GiB are free: "
        "gradient checkpointing is on, which takes less memory and a third more time"
    )
    recipe = _changed(recipe, "memory", why, on_event, gradient_checkpointing=True)
    if memory_gib(recipe) > machine.free_gib and recipe.train.base_weights is None:
        message = 'this may still be too much; train.base_weights = "int8" keeps the base in 8 bits'
        on_event(Notice("train", "memory-tight", message))
    return recipe


def _changed(recipe: Recipe, code: str, why: str, on_event: OnEvent, **keys: object) -> Recipe:
    on_event(Notice(STAGE, code, why))
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=keys)})
