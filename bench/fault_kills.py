"""Runs killed at any moment, and before any write: the same command ends with the same bytes."""

from __future__ import annotations

import random

from bench.fault_runs import Runs, begin, same, timed_stage, whole_runs
from bench.faults import Slice, WrongError
from veneer.stage import STAGE_NAMES

WRITES = 24
"""Before how many of a stage's writes it is killed."""
TRIES = 8
"""How often a moment is looked for at which the process still lives."""


def try_kill(runs: Runs, number: int) -> str:
    """Kill a stage at a random moment, often more than once, and go on.

    Args:
        runs: What to begin at.
        number: Number of the case; the stages take turns.

    Returns:
        "the same bytes", with how many kills found the process alive.

    Raises:
        WrongError: If a file differs, is missing or left over, or no kill came in time.
    """
    chance, stage = random.Random(number), STAGE_NAMES[number % len(STAGE_NAMES)]
    wanted, kills = chance.choice([1, 1, 2, 3]), 0
    begin(runs, stage)
    for _ in range(TRIES * wanted):
        ended = runs.forker.kill(chance.random() * runs.seconds[stage], timed_stage, stage, runs.place)
        kills += ended.is_killed
        if kills == wanted:
            return f"{same(runs, stage)} after {kills} kill{'s' * (kills > 1)}"
        if not ended.is_killed:
            if isinstance(ended.value, Exception):
                raise ended.value
            runs.seconds[stage] = ended.seconds
            kills = 0
            begin(runs, stage)
    raise WrongError(f"{stage}: never found alive")


def try_write(runs: Runs, number: int) -> str:
    """Kill a stage before one of its writes, and go on.

    Args:
        runs: What to begin at.
        number: Number of the case; the stages take turns, and their writes.

    Returns:
        "the same bytes".

    Raises:
        WrongError: If a file differs, is missing or left over.
    """
    stage, turn = STAGE_NAMES[number % len(STAGE_NAMES)], number // len(STAGE_NAMES)
    if stage not in runs.writes:
        begin(runs, stage)
        runs.writes[stage] = runs.forker.kill_at(runs.place, None, timed_stage, stage, runs.place).writes
    begin(runs, stage)
    write = (
        (turn * runs.writes[stage] // WRITES) if runs.writes[stage] > WRITES else turn % runs.writes[stage]
    )
    ended = runs.forker.kill_at(runs.place, write, timed_stage, stage, runs.place)
    if isinstance(ended.value, Exception):
        raise ended.value
    came = same(runs, stage)
    return came if ended.is_killed else "done, without that write"


SLICES = (
    Slice("kills", "a stage killed at random moments", 200, (3,), whole_runs, try_kill, 300.0),
    Slice(
        "writes",
        "a stage killed before one of its writes",
        9 * WRITES,
        (8 + 9 * 20,),
        whole_runs,
        try_write,
        300.0,
    ),
)
