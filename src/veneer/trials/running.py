"""A sweep from its first trial to its page; the same command goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from veneer import pipeline
from veneer.arguments import PathLike, given_path, given_texts
from veneer.config import Recipe
from veneer.errors import EXIT_DONE, EXIT_WORSE, RunError
from veneer.events import Event, Notice, OnEvent, Progress, StageFinished, StageStarted, ignore
from veneer.notebook import in_notebook
from veneer.recipe import Overrides, recipe_of
from veneer.records.locks import locked
from veneer.records.metrics import Metrics
from veneer.records.sweeps import SweepDir, SweepRecord, TrialRecord
from veneer.stats import measure_from
from veneer.trials.axes import Axis, combinations, end_settings, read_axes
from veneer.trials.halving import Halving, can_halve
from veneer.trials.looks import interval_for_looks
from veneer.trials.page import write_page
from veneer.trials.ranking import STYLE, Standing, ranking_of, standing_of
from veneer.trials.searching import propose, refuse_without_optuna
from veneer.trials.trial import SWEEP, begun, do_trial, replaced, swept_recipe, trial_recipe, with_trials

Next = Callable[[SweepRecord], TrialRecord | None]
"""What is done next, from all that is known; None where all is done."""
NOT_RANKED = "none can be ranked: intervals take five prompts, so give more captioned pictures or more seeds"


@dataclass(frozen=True)
class Confirmation:
    """The best trial on prompts, seeds and held-out pictures that no trial was looked at with.

    Attributes:
        verdict: The verdict's word.
        headline: The verdict in one sentence.
        looks: How many trials were judged there so far; intervals are widened for it.
        holds: Whether it is `better` there too, its style surely nearer for so many looks.
    """

    verdict: str
    headline: str
    looks: int
    holds: bool

    @property
    def words(self) -> str:
        """One line for people."""
        paid = f" (look {self.looks} at these prompts, paid for)" if self.looks > 1 else ""
        seen = "confirmed" if self.holds else "not confirmed"
        return f"{seen} on fresh prompts and seeds{paid}: {self.verdict}. {self.headline}"


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep.

    Attributes:
        root: The sweep folder.
        standings: Every trial, best first.
        confirmation: What the verdict said of the best one; None where none could be ranked.
    """

    root: Path
    standings: tuple[Standing, ...]
    confirmation: Confirmation | None

    @property
    def best(self) -> Standing | None:
        """The trial that was taken; None where none could be ranked."""
        return next((one for one in self.standings if one.is_ranked), None)

    @property
    def report(self) -> Path:
        """The page."""
        return SweepDir(self.root).index_html

    @property
    def recipe(self) -> Path:
        """The best trial's recipe, to copy."""
        return SweepDir(self.root).recipe_toml

    @property
    def summary(self) -> str:
        """One line of what came out."""
        if self.best is None or self.confirmation is None:
            return f"{len(self.standings)} trials: {NOT_RANKED}"
        return f"best of {len(self.standings)}: {_settings(self.best.trial)}; {self.confirmation.words}"

    @property
    def exit_status(self) -> int:
        """Exit status of the command: 4 where the best trial is worse than its base."""
        is_worse = self.confirmation is not None and self.confirmation.verdict == "worse"
        return EXIT_WORSE if is_worse else EXIT_DONE


def sweep(
    recipe: Recipe | PathLike,
    over: str | Sequence[str],
    out: PathLike,
    overrides: Overrides = (),
    *,
    search: int = 0,
    on_event: OnEvent = in_notebook,
    allow_private_addresses: bool = False,
) -> SweepResult:
    """Try settings of a recipe, all or by a search; take the best by its lower bound, and confirm it.

    Args:
        recipe: A recipe, a bundled name, or a file.
        over: What is varied, such as ``train.learning_rate=1e-4,3e-4`` or, to search in, ``=1e-5..1e-3``.
        overrides: Settings of all trials, as `load_recipe` takes them.
        search: Trials in all of a search, of which those that fall behind are stopped early; 0 for every
            combination of listed values.
        out: The sweep folder; made where it does not exist. Trials that are done there are not done again.
        allow_private_addresses: Whether downloads may reach private, loopback and link-local addresses.

    Returns:
        All trials, best first, and what the verdict says of the best on prompts that none was chosen by.

    Raises:
        RecipeError: If something to vary does not fit.
        RunError: If the folder holds a sweep of another recipe, or every trial failed.
    """
    folder = SweepDir(given_path(out, "out"))
    axes = read_axes(given_texts(over, "over"))
    shared = swept_recipe(recipe_of(recipe, overrides))
    if search:
        refuse_without_optuna()
    wanted = [] if search else combinations(axes)
    for settings in [*wanted, *end_settings(axes)]:
        trial_recipe(shared, settings)  # a value that does not fit is told before anything is done
    with locked(folder.root, "run"):
        record = with_trials(begun(folder, shared), wanted)
        record.write(folder.sweep_json)
        on_event(StageStarted(SWEEP, max(search, len(record.trials)), "trials"))
        choose = next_in_order(record)
        if search:
            choose = next_of_search(folder, shared, axes, search, choose)
        record = do_trials(
            folder,
            shared,
            record,
            choose,
            on_event,
            halves=bool(search) and can_halve([axis.key for axis in axes]),
            allow_private_addresses=allow_private_addresses,
        )
        return finish(folder, shared, record, axes, on_event)


def next_in_order(record: SweepRecord) -> Next:
    """The first trial that is not done; one that failed in an earlier command is tried once more."""
    left = [trial.name for trial in record.trials if trial.state in {"planned", "failed"}]

    def choose(now: SweepRecord) -> TrialRecord | None:
        name = left.pop(0) if left else ""
        return next((trial for trial in now.trials if trial.name == name), None)

    return choose


def next_of_search(folder: SweepDir, recipe: Recipe, axes: Sequence[Axis], most: int, first: Next) -> Next:
    """What was begun is ended first; then what the search proposes, until there are so many trials."""

    def standing(trial: TrialRecord) -> Standing:
        return standing_of(trial, folder.trial(trial.name))

    def choose(now: SweepRecord) -> TrialRecord | None:
        begun_before = first(now)
        if begun_before is not None or len(now.trials) >= most:
            return begun_before
        settings = propose(now, axes, recipe.train.seed, standing)
        return None if settings is None else with_trials(now, [settings]).trials[-1]

    return choose


def do_trials(
    folder: SweepDir,
    recipe: Recipe,
    record: SweepRecord,
    choose: Next,
    on_event: OnEvent = ignore,
    *,
    halves: bool = False,
    allow_private_addresses: bool = False,
) -> SweepRecord:
    """Do one trial after the other; each is written down when it begins and when it ends.

    Args:
        halves: Whether trials that fall behind on the held-out loss are stopped.
    """
    while (trial := choose(record)) is not None:
        others = [one for one in record.trials if one.name != trial.name]
        record = replaced(record, trial)
        record.write(folder.sweep_json)
        ended = do_trial(
            folder,
            trial,
            recipe,
            [one.name for one in others],
            quietly(on_event, trial.name),
            halving=Halving(others, recipe.train.max_train_steps, acts=halves),
            allow_private_addresses=allow_private_addresses,
        )
        record = replaced(record, ended)
        record.write(folder.sweep_json)
        _tell(folder, record, ended, on_event)
    return record


def finish(
    folder: SweepDir, recipe: Recipe, record: SweepRecord, axes: Sequence[Axis], on_event: OnEvent = ignore
) -> SweepResult:
    """Rank all trials, judge the best one where no trial was looked at, and write the page.

    Raises:
        RunError: If every trial failed.
    """
    standings = ranking_of([standing_of(trial, folder.trial(trial.name)) for trial in record.trials])
    if all(one.trial.state == "failed" for one in standings):
        raise RunError(
            "every trial failed, the first with: " + standings[0].trial.why, where=str(folder.root)
        )
    best = next((one for one in standings if one.is_ranked), None)
    found = None if best is None else confirm(folder, recipe, record, best, on_event)
    result = SweepResult(folder.root, tuple(standings), found)
    keys = [axis.key for axis in axes]
    write_page(folder, recipe, standings, keys, found.words if found else NOT_RANKED)
    on_event(StageFinished(SWEEP, result.summary))
    return result


def confirm(
    folder: SweepDir, recipe: Recipe, record: SweepRecord, best: Standing, on_event: OnEvent = ignore
) -> Confirmation:
    """Take the best trial through to its verdict, and count the look."""
    name = best.trial.name
    run = folder.trial(name)
    if name not in record.confirmed:
        record = record.model_copy(update={"confirmed": (*record.confirmed, name)})
        record.write(folder.sweep_json)  # before the look: one that was stopped was one all the same
    pipeline.run(trial_recipe(recipe, best.trial.settings), run.root, on_event=quietly(on_event, name))
    metrics, looks = Metrics.of(run), len(record.confirmed)
    plain = metrics.measures.get(STYLE)
    interval = interval_for_looks(measure_from(plain), looks) if plain else None
    holds = metrics.verdict == "better" and interval is not None and interval[0] > 0
    return Confirmation(metrics.verdict, metrics.headline, looks, holds)


def quietly(on_event: OnEvent, name: str) -> OnEvent:
    """Pass on what a trial's stages tell, but for their ends: a trial is one line."""

    def tell(event: Event) -> None:
        if isinstance(event, StageStarted):
            on_event(StageStarted(f"{name} {event.stage}", event.total, event.unit))
        elif not isinstance(event, StageFinished):
            on_event(event)

    return tell


def _tell(folder: SweepDir, record: SweepRecord, trial: TrialRecord, on_event: OnEvent) -> None:
    known = standing_of(trial, folder.trial(trial.name))
    done = sum(one.state != "planned" for one in record.trials)
    on_event(Progress(SWEEP, done, trial.name))
    line = f"trial {trial.name} of {len(record.trials)}: {_settings(trial)}: {known.words}"
    on_event(Notice(SWEEP, f"trial-{trial.name}", line))


def _settings(trial: TrialRecord) -> str:
    return ", ".join(f"{key} {value}" for key, value in trial.settings.items()) or "the recipe as it is"
