"""What the bench on a GPU measures, the most telling first, each with the seconds that it may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench.speed_systems import CACHED, PLAIN, VENEER, Case

EAGER, COMPILED = "Veneer, no graph", "Veneer, compiled"
GPU_ARMS = (PLAIN, CACHED, EAGER, VENEER, COMPILED)
OPTIONS = {EAGER: (("cuda_graph", False),), COMPILED: (("compile", True),)}
POCKET, SD15 = "pocket", "SD 1.5"
PLAIN_BATCHES = (1, 4, 16)
"""Batches that the plain loops run at too: they are slow, and a loan of a card is short."""
TURN = 10


@dataclass(frozen=True)
class Task:
    """One thing to measure.

    Attributes:
        kind: "train", "watch" (a long training), "encode", "generate" or "start".
        case: Base, size and precision.
        system: Which system trains; empty where none does.
        estimate: Seconds that it takes, loading included, by what was seen on an H200.
    """

    kind: str
    case: Case
    system: str
    estimate: float

    @property
    def title(self) -> str:
        """For people."""
        return " ".join(word for word in (self.kind, self.case.title, self.system) if word)


def plan_tasks(work: Path, *, is_dry: bool = False) -> list[Task]:
    """What is measured, in the order of its worth.

    Args:
        work: Folder of runs and of the random base.
        is_dry: Whether everything is tiny, to try the script itself on a CPU.

    Returns:
        Tasks; where time runs out the last are left.
    """
    sd15, pocket = _sd15(work, 512, 4), _pocket(work, 8)
    large = _sd15(work, 1024, 2)
    found = [task for batch in (4, 1, 16) for task in _three_arms(_sd15(work, 512, batch))]
    found += [_train(large), _train(replace(large, gradient_checkpointing=True))]
    found += [_train(sd15, EAGER), _train(_sd15(work, 512, 1), EAGER), _train(_sd15(work, 512, 32))]
    found += [Task("encode", sd15, "", 9), Task("generate", sd15, "", 14)]
    found += [*_three_arms(pocket), _train(_pocket(work, 256))]
    found.append(Task("watch", replace(sd15, turns=30), VENEER, 22))
    found += [_train(_sd15(work, 512, batch)) for batch in (8, 2)]
    found += [Task("start", pocket, "", 6), Task("encode", pocket, "", 4), Task("generate", pocket, "", 6)]
    found += [_train(_sd15(work, 512, 16), EAGER), *_three_arms(replace(sd15, precision="no"))]
    found += [_train(sd15, COMPILED, 120), _train(_sd15(work, 512, 16), COMPILED, 120)]
    return _tiny(found) if is_dry else found


def _three_arms(case: Case) -> list[Task]:
    return [_train(case, system) for system in (VENEER, CACHED, PLAIN)]


def _train(case: Case, system: str = VENEER, estimate: float = 0.0) -> Task:
    case = replace(case, options=OPTIONS.get(system, ()))
    if system in {PLAIN, CACHED} and case.turns > 3:
        case = replace(case, turns=3)
    if not estimate:
        share = case.batch_size * (case.resolution / 512) ** 2.5 / 90
        estimate = 9 + case.steps * ((0.2 if system in {PLAIN, CACHED, EAGER} else 0.02) + share)
    return Task("train", case, system, estimate)


def _sd15(work: Path, side: int, batch: int) -> Case:
    run, base = str(work / "runs" / f"sd15-{side}"), str(work / "random-sd15")
    return Case(SD15, base, run, side, batch, "bf16", turn=TURN, turns=4 if batch < 16 else 3)


def _pocket(work: Path, batch: int) -> Case:
    return Case(POCKET, "pocket", str(work / "runs" / "pocket"), 64, batch, "bf16", turn=TURN, turns=4)


def _tiny(tasks: list[Task]) -> list[Task]:
    """One task of each kind and system, small enough for a CPU."""
    first = {(task.kind, task.system): task for task in reversed(tasks)}
    found = []
    for task in sorted(first.values(), key=tasks.index):
        run = f"{task.case.run}-dry"
        case = replace(task.case, base="pocket", run=run, resolution=64, batch_size=2, precision="no")
        options = () if task.system == COMPILED else case.options
        found.append(replace(task, case=replace(case, turn=1, turns=3, options=options)))
    return found
