"""A search: what is tried next follows from what was found, by Optuna's tree of Parzen estimators.

A proposal is a function of the trials that ended and of the seed: a command that was killed proposes the same
again, and no storage is kept beside ``sweep.json``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from veneer.errors import RunError
from veneer.records.sweeps import SweepRecord, TrialRecord
from veneer.seeds import derive
from veneer.trials.axes import Axis
from veneer.trials.ranking import LookUp

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

AT_RANDOM = 5
"""Trials before anything is learnt from them."""
ATTEMPTS = 20
"""Proposals that were tried already, in a row, after which all is taken for tried."""


def refuse_without_optuna() -> None:
    """Refuse to search where Optuna is not installed.

    Raises:
        RunError: If it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        todo = "pip install 'veneer[search]', or list values with commas and leave --search out"
        raise RunError(
            "a search needs Optuna, which is not installed", where="--search", todo=todo
        ) from error


def propose(record: SweepRecord, axes: Sequence[Axis], seed: int, look: LookUp) -> dict[str, str] | None:
    """What to try next.

    Args:
        record: All trials so far.
        axes: What is varied.
        look: How a trial did.

    Returns:
        Values as TOML by key; None where everything seems to be tried.
    """
    known = [dict(trial.settings) for trial in record.trials]
    for attempt in range(ATTEMPTS):
        settings = _ask(record, axes, derive(seed, "search", len(known), attempt) % 2**32, look)
        if settings not in known:
            return settings
    return None


def _ask(record: SweepRecord, axes: Sequence[Axis], seed: int, look: LookUp) -> dict[str, str]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    spaces = {axis.key: _space(axis) for axis in axes}
    for trial in record.trials:
        with contextlib.suppress(ValueError):  # of other axes, or outside their ends
            study.add_trial(_told(trial, axes, spaces, look))
    asked = study.ask(spaces)
    return {axis.key: _text(axis, asked.params[axis.key]) for axis in axes}


def _space(axis: Axis) -> BaseDistribution:
    from optuna import distributions

    if axis.values:
        return distributions.CategoricalDistribution(axis.values)
    if axis.is_whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.is_logarithmic)
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.is_logarithmic)


def _told(trial: TrialRecord, axes: Sequence[Axis], spaces: dict[str, Any], look: LookUp) -> Any:
    """A trial in Optuna's words: the lower end of its interval, or what was known when it was stopped."""
    import optuna

    if set(trial.settings) != set(spaces):
        raise ValueError("of other axes")
    params = {axis.key: _value(axis, trial.settings[axis.key]) for axis in axes}
    standing = look(trial)
    states = optuna.trial.TrialState
    if standing.is_ranked:
        return optuna.trial.create_trial(
            state=states.COMPLETE, value=standing.low, params=params, distributions=spaces
        )
    if trial.state == "stopped":
        losses = {int(step): -loss for step, loss in trial.losses.items()}
        return optuna.trial.create_trial(
            state=states.PRUNED, params=params, distributions=spaces, intermediate_values=losses
        )
    return optuna.trial.create_trial(state=states.FAIL, params=params, distributions=spaces)


def _text(axis: Axis, value: Any) -> str:
    """A value as TOML; numbers of a range are rounded to what a person would write."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(axis: Axis, text: str) -> Any:
    if axis.values:
        return text
    number = int(text) if axis.is_whole else float(text)
    return min(max(number, axis.low), axis.high) if not axis.is_whole else number
