"""``veneer run --auto``: rank, rate and steps found by short probes, within minutes that the user gives.

Probes are trials of a sweep in ``RUN/auto``: first several ranks and rates at a quarter of the steps, then
the best of them at half, then the best of those at all. What is taken has the highest lower end of its
interval; the run's own verdict is then on prompts, seeds and held-out pictures that no probe was looked at
with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from veneer.config import Recipe
from veneer.errors import RecipeError, RunError
from veneer.events import Notice, OnEvent, StageStarted, ignore
from veneer.records.locks import locked
from veneer.records.run import RunDir
from veneer.records.sweeps import SweepDir, SweepRecord, TrialRecord
from veneer.trials.page import write_page
from veneer.trials.ranking import LookUp, Standing, ranking_of, standing_of
from veneer.trials.running import NOT_RANKED, do_trials, next_in_order
from veneer.trials.sharing import DATA_STAGES, take_over
from veneer.trials.trial import begun, swept_recipe, trial_recipe, with_trials

AUTO = "auto"
RANK_KEY, ALPHA_KEY, RATE_KEY, STEPS_KEY = (
    "lora.rank",
    "lora.lora_alpha",
    "train.learning_rate",
    "train.max_train_steps",
)
FIRST_PROBES = ((1.0, 1.0), (1.0, 3.0), (1.0, 1 / 3), (4.0, 1.0), (4.0, 1 / 3), (0.25, 3.0))
"""Ranks and rates of the first probes, as factors of the recipe's; the likeliest first."""
SHORT = 4
"""The first probes take one step in so many."""
LONGER_PROBES = ((2, 3), (1, 2))
"""Then one step in so many, for so many of the best."""


@dataclass(frozen=True)
class Probed:
    """What the probes found.

    Attributes:
        recipe: The recipe with rank, rate and steps of the best probe.
        best: That probe.
        tried: All probes, best first.
        minutes: Minutes that they took, the data stages not counted.
        page: Their page.
    """

    recipe: Recipe
    best: Standing
    tried: tuple[Standing, ...]
    minutes: float
    page: Path

    @property
    def summary(self) -> str:
        """One line of what was tried and taken."""
        told = ", ".join(f"{key} {value}" for key, value in self.best.trial.settings.items())
        return (
            f"{len(self.tried)} probes in {self.minutes:.1f} minutes; taken is {told}: {self.best.words}. "
            f"All of them: {self.page}"
        )


def find_settings(
    recipe: Recipe,
    run: RunDir,
    minutes: float,
    *,
    on_event: OnEvent = ignore,
    allow_private_addresses: bool = False,
) -> Probed:
    """Find rank, rate and steps for a run, and give the run what the best probe has done.

    Args:
        minutes: What probes may take, the data stages not counted; the first one is done in any case.

    Returns:
        The recipe to run, and all that was tried.

    Raises:
        RecipeError: If there are no minutes, or probes cannot be told apart by pictures.
        RunError: If no probe could be ranked.
    """
    if not minutes > 0:
        raise RecipeError(f"{minutes:g} minutes are no time to probe in", where="--auto", todo="Give more")
    shared, folder = swept_recipe(recipe), SweepDir(run.root / "auto")
    with locked(folder.root, "run"):
        record = begun(folder, shared)
        on_event(StageStarted(AUTO, None, "probes"))
        choose = next_within(folder, shared, 60 * minutes, next_in_order(record), on_event)
        record = do_trials(
            folder, shared, record, choose, on_event, allow_private_addresses=allow_private_addresses
        )
        found = _found(folder, shared, record)
        take_over(run, found.recipe, [folder.trial(found.best.trial.name)], stages=(*DATA_STAGES, "train"))
    on_event(Notice(AUTO, "auto", found.summary))
    return found


def next_within(
    folder: SweepDir,
    recipe: Recipe,
    seconds: float,
    first: Callable[[SweepRecord], TrialRecord | None],
    on_event: OnEvent = ignore,
) -> Callable[[SweepRecord], TrialRecord | None]:
    """The next probe that fits into what is left of the time; None where none does, which is told."""

    def choose(now: SweepRecord) -> TrialRecord | None:
        before = first(now)
        if before is not None:
            return before
        settings = next_probe(recipe, now, lambda one: standing_of(one, folder.trial(one.name)))
        if settings is None:
            return None
        left = seconds - sum(seconds_of(folder, one) for one in now.trials)
        needed = foreseen(folder, now, int(settings[STEPS_KEY]))
        if needed > left:
            message = (
                f"the next probe would take {needed:.0f} s, and {max(0.0, left):.0f} are left: probing ends"
            )
            on_event(Notice(AUTO, "auto-out-of-time", message))
            return None
        return with_trials(now, [settings]).trials[-1]

    return choose


def next_probe(recipe: Recipe, record: SweepRecord, look: LookUp) -> dict[str, str] | None:
    """What to probe next, whatever time is left; None where nothing is left to probe."""
    steps = recipe.train.max_train_steps
    known = [dict(trial.settings) for trial in record.trials]
    length = max(1, steps // SHORT)
    for settings in first_probes(recipe, length):
        if settings not in known:
            return settings
    for divisor, count in LONGER_PROBES:
        of_length = [trial for trial in record.trials if _steps_of(trial) == length]
        ranked = [one for one in ranking_of([look(trial) for trial in of_length]) if one.is_ranked]
        length = max(1, steps // divisor)
        for one in ranked[:count]:
            settings = {**one.trial.settings, STEPS_KEY: str(length)}
            if settings not in known:
                return settings
    return None


def first_probes(recipe: Recipe, steps: int) -> list[dict[str, str]]:
    """Ranks and rates around the recipe's; the update's scale, alpha by rank, stays what it is."""
    lora, rate = recipe.lora, recipe.train.learning_rate
    probes = []
    for by_rank, by_rate in FIRST_PROBES:
        own = max(1, round(lora.rank * by_rank))
        alpha = lora.lora_alpha * own / lora.rank
        settings = {
            RANK_KEY: str(own),
            ALPHA_KEY: f"{alpha:g}",
            RATE_KEY: f"{rate * by_rate:.3g}",
            STEPS_KEY: str(steps),
        }
        if settings not in probes:
            probes.append(settings)
    return probes


def foreseen(folder: SweepDir, record: SweepRecord, steps: int) -> float:
    """Seconds that a probe of so many steps will take, by those that were done; 0 before the first."""
    done = [one for one in record.trials if one.state == "done" and _steps_of(one)]
    if not done:
        return 0.0
    trained = {one.name: _stage_seconds(folder, one, ("train",)) for one in done}
    each = max(trained[one.name] / _steps_of(one) for one in done)
    rest = max(seconds_of(folder, one) - trained[one.name] for one in done[-3:])
    return rest + each * steps


def _steps_of(trial: TrialRecord) -> int:
    """Steps of a probe; 0 where a record that was changed by hand does not say."""
    try:
        return max(0, int(trial.settings.get(STEPS_KEY, "")))
    except ValueError:
        return 0


def seconds_of(folder: SweepDir, trial: TrialRecord) -> float:
    """Seconds of a probe without the data stages, which the run needs in any case."""
    done = _stage_seconds(folder, trial, DATA_STAGES)
    return max(0.0, trial.seconds - done) if trial.name == "001" else trial.seconds


def _stage_seconds(folder: SweepDir, trial: TrialRecord, stages: Sequence[str]) -> float:
    known = folder.trial(trial.name).read_record().stages
    return sum(known[name].seconds for name in stages if name in known)


def _found(folder: SweepDir, recipe: Recipe, record: SweepRecord) -> Probed:
    standings = ranking_of([standing_of(trial, folder.trial(trial.name)) for trial in record.trials])
    best = standings[0] if standings else None
    write_page(
        folder,
        recipe,
        standings,
        (RANK_KEY, RATE_KEY, STEPS_KEY),
        "taken for the run, whose report judges it",
    )
    if best is None or not best.is_ranked:
        why = best.trial.why if best is not None and best.trial.why else NOT_RANKED
        raise RunError(f"no probe could be ranked: {why}", where=str(folder.root), todo="Run without --auto")
    minutes = sum(seconds_of(folder, one.trial) for one in standings) / 60
    taken = trial_recipe(recipe, best.trial.settings)
    return Probed(taken, best, tuple(standings), minutes, folder.index_html)
