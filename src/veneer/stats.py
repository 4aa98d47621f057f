"""Paired differences of base and tuned model, with intervals: pure numpy and scipy.

The unit is the prompt, not the picture: pictures of one prompt are not independent. What an interval is says
`veneer.intervals`. A measure that cannot have one says so (`Measure.note`); no number stands in for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import t

from veneer.errors import RunError
from veneer.intervals import MIN_UNITS, Array, Chance, Interval, mean_interval, shared_seeds

Better = Literal["higher", "lower"]

SHORTEST_WAY = 0.02
"""Distance from base to real pictures below which no share of it is told."""


@dataclass(frozen=True)
class Measure:
    """One number of the base beside the same number of the tuned model.

    Attributes:
        base: Mean over the base's units.
        tuned: Mean over the tuned model's units.
        delta: ``tuned - base``.
        ci95: 95 % interval of ``delta``; None where it is not available.
        ci99: 99 % interval of ``delta``.
        sure: The interval that `rises` and `falls` rest on: ``ci99``, or a wider one where several measures
            answer one question, so that all of them hold together 99 times in 100.
        n: Units (prompts, or pictures where there are too few prompts).
        wins: Share of units in which the tuned model is better, ties counting half; None where senseless.
        unit: What a unit is, in the plural.
        note: Why there is no interval, or what it does not cover; empty where there is nothing to say.
        ideal: What real pictures of the style would give; None where that means nothing.
        least: Gain that a trivial change would give too, >= 0: only what surely exceeds it is a rise.
        kept: Share of the base's that is left at least, >= 0, the lower end of a 95 % interval; None where
            that is not asked, or not known.
    """

    base: float
    tuned: float
    delta: float
    ci95: Interval | None
    ci99: Interval | None
    n: int
    wins: float | None
    better: Better
    unit: str = "prompts"
    note: str = ""
    sure: Interval | None = None
    ideal: float | None = None
    least: float = 0.0
    kept: float | None = None

    @property
    def rises(self) -> bool:
        """Whether it improves, the whole sure interval on the better side of zero and of `least`."""
        return self.certain is not None and self.gain_of(self.certain)[0] > self.least

    @property
    def falls(self) -> bool:
        """Whether it gets worse, the whole sure interval on the worse side of zero."""
        return self.certain is not None and self.gain_of(self.certain)[1] < 0

    @property
    def certain(self) -> Interval | None:
        """The interval that `rises` and `falls` rest on; older files know the 99 % one only."""
        return self.sure or self.ci99

    @property
    def share(self) -> float | None:
        """How far the tuned model came, as a share of the way from the base to real pictures of the style."""
        return None if self._way is None else self.delta / self._way

    @property
    def share_ci95(self) -> Interval | None:
        """95 % interval of `share`; the length of the way is taken as known."""
        if self._way is None or self.ci95 is None:
            return None
        return self.ci95[0] / self._way, self.ci95[1] / self._way

    @property
    def _way(self) -> float | None:
        """From the base to real pictures; None where the base is as near as they are."""
        if self.ideal is None or self.ideal - self.base < SHORTEST_WAY:
            return None
        return self.ideal - self.base

    @property
    def gain(self) -> float:
        """Improvement: ``delta``, with its sign turned where lower is better."""
        return self.delta if self.better == "higher" else -self.delta

    @property
    def reach(self) -> float:
        """From the gain to the worse end of its 95 % interval, >= 0; 0 without one."""
        return 0.0 if self.ci95 is None else self.gain - self.gain_of(self.ci95)[0]

    def holds(self, margin: float) -> bool:
        """Whether it provably does not get worse by more than a margin.

        Args:
            margin: Loss that still counts as none, >= 0, in the measure's unit.

        Returns:
            True where the whole 95 % interval lies above ``-margin``.
        """
        return self.ci95 is not None and self.gain_of(self.ci95)[0] > -margin

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            The object that metrics.json holds.
        """
        intervals = {
            "ci95": self.ci95,
            "ci99": self.ci99,
            "sure": self.certain,
            "share_ci95": self.share_ci95,
        }
        written = {key: None if one is None else [_short(x) for x in one] for key, one in intervals.items()}
        numbers = {"base": self.base, "tuned": self.tuned, "delta": self.delta}
        return {
            **{key: _short(value) for key, value in numbers.items()},
            **written,
            "n": self.n,
            "wins": None if self.wins is None else _short(self.wins),
            "better": self.better,
            "unit": self.unit,
            "note": self.note,
            "ideal": None if self.ideal is None else _short(self.ideal),
            "least": _short(self.least),
            **({} if self.kept is None else {"kept": _short(self.kept)}),
            "share": None if self.share is None else _short(self.share),
        }

    def gain_of(self, interval: Interval) -> Interval:
        """An interval of the difference as one of the gain."""
        low, high = interval
        return (low, high) if self.better == "higher" else (-high, -low)


def measure_from(plain: Mapping[str, Any]) -> Measure:
    """Read what `Measure.plain` wrote.

    Args:
        plain: An entry of metrics.json.

    Raises:
        RunError: If it is none.
    """
    known = {field.name: plain[field.name] for field in fields(Measure) if field.name in plain}
    try:
        for key in ("ci95", "ci99", "sure"):
            known[key] = None if known.get(key) is None else (known[key][0], known[key][1])
        measure = Measure(**known)
        measure.plain()  # needs every number to be one
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise _damaged(str(error)) from error
    if not isinstance(measure.n, int) or measure.better not in get_args(Better):
        raise _damaged("n or better is not what it can be")
    return measure


def _damaged(reason: str) -> RunError:
    return RunError(f"a measure is damaged: {reason}", todo="Run `veneer compare RUN` again")


def paired(
    base: Sequence[float] | Array,
    tuned: Sequence[float] | Array,
    prompts: Sequence[Hashable],
    *,
    better: Better = "higher",
    unit: str = "prompts",
    seed: int = 0,
    seeds: Sequence[Hashable] | None = None,
    also: Sequence[Chance] = (),
    questions: int = 1,
    ideal: float | None = None,
) -> Measure:
    """Compare pictures of base and tuned model that share prompt and seed.

    Args:
        base: One number for each picture of the base, shape (N,), N >= 1.
        tuned: The same for the tuned model, in the same order.
        prompts: What groups the pictures: the prompt of each. Means over a group are what is resampled.
        unit: What a group is, in the plural.
        seed: Seed of the resampling.
        seeds: Seed of each picture; those that several prompts share are a chance of their own.
        also: Further chances in the mean difference.
        questions: Measures that answer the same question, among which the 1 % of error is shared.
        ideal: What real pictures of the style would give.

    Returns:
        The measure. With fewer than `MIN_UNITS` groups but enough pictures, pictures are resampled and the
        note says that the interval does not cover other prompts.

    Raises:
        ValueError: If the three differ in length, are empty, or hold what is not a finite number.
    """
    befores, afters = _checked(base, tuned, prompts)
    groups, unit, note = _units(prompts, unit)
    chances = list(also)
    if seeds is not None and not note and (shared := shared_seeds(afters - befores, groups, seeds)):
        chances.append(shared)
    befores, afters = _group_means(befores, groups), _group_means(afters, groups)
    levels = (0.95, 0.99, 1 - 0.01 / questions)
    found = [mean_interval(afters - befores, seed=seed, level=level, also=chances) for level in levels]
    (ci95, why_not), (ci99, _), (sure, _) = found
    return Measure(
        base=float(befores.mean()),
        tuned=float(afters.mean()),
        delta=float((afters - befores).mean()),
        ci95=ci95,
        ci99=ci99,
        n=len(befores),
        wins=win_share(befores, afters, better),
        better=better,
        unit=unit,
        note=note or why_not,
        sure=sure,
        ideal=ideal,
    )


def _checked(
    base: Sequence[float] | Array, tuned: Sequence[float] | Array, prompts: Sequence[Hashable]
) -> tuple[Array, Array]:
    befores, afters = np.asarray(base, float), np.asarray(tuned, float)
    if not 0 < len(befores) == len(afters) == len(prompts):
        raise ValueError(f"{len(befores)} base, {len(afters)} tuned, {len(prompts)} prompts")
    if not (np.isfinite(befores).all() and np.isfinite(afters).all()):
        raise ValueError("not a finite number among the values")
    return befores, afters


def _units(prompts: Sequence[Hashable], unit: str) -> tuple[Sequence[Hashable], str, str]:
    """What is resampled, what it is called, and a note where prompts are too few, so that it is pictures."""
    num_prompts = len(set(prompts))
    if num_prompts < MIN_UNITS <= len(prompts):
        note = f"only {num_prompts} {unit}: the interval covers the seeds, not other {unit}"
        return range(len(prompts)), "pictures", note
    return list(prompts), unit, ""


def units_needed(measure: Measure, margin: float) -> int | None:
    """How many units would show that a loss stays within a margin, were they like those at hand.

    Args:
        measure: A measure with an interval.
        margin: Loss that counts as none, >= 0.

    Returns:
        Units, `MIN_UNITS` at least; None where no number would do, or nothing is known of the spread.
    """
    room = measure.gain + margin
    if measure.ci95 is None or room <= 0:
        return None
    reach = (measure.ci95[1] - measure.ci95[0]) / 2
    spread = reach * np.sqrt(measure.n) / t.ppf(0.975, measure.n - 1)
    return next((n for n in range(MIN_UNITS, 1000) if spread * t.ppf(0.975, n - 1) < room * n**0.5), None)


def win_share(base: Array, tuned: Array, better: Better) -> float:
    """Share of pairs in which the tuned model is better.

    Args:
        base: Values of the base, shape (n,).
        tuned: Values of the tuned model, shape (n,).

    Returns:
        A share in [0, 1]; ties count half.
    """
    gains = tuned - base if better == "higher" else base - tuned
    return float(np.mean(np.where(gains > 0, 1.0, np.where(gains < 0, 0.0, 0.5))))


def _group_means(values: Array, groups: Sequence[Hashable]) -> Array:
    members: dict[Hashable, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        members.setdefault(group, []).append(float(value))
    return np.asarray([np.mean(group) for group in members.values()])


def _short(value: float) -> float:
    return float(f"{value:.6g}")
