"""Paired differences of base and tuned model, with intervals: pure numpy and scipy.

The unit that is resampled is the prompt, not the picture: pictures of one prompt are not independent. A
measure that cannot have an interval says so (`Measure.note`); no number stands in for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Better = Literal["higher", "lower"]
Interval = tuple[float, float]

MIN_UNITS = 5
"""Fewest units that get an interval: the smallest sample of four leaves its range one time in eight."""
RESAMPLES = 9999


@dataclass(frozen=True)
class Measure:
    """One number of the base beside the same number of the tuned model.

    Attributes:
        base: Mean over the base's units.
        tuned: Mean over the tuned model's units.
        delta: ``tuned - base``.
        ci95: 95 % interval of ``delta``; None where it is not available.
        ci99: 99 % interval of ``delta``; a verdict asks several questions at once and rests on this one.
        n: Units (prompts, or pictures where there are too few prompts).
        wins: Share of units in which the tuned model is better, ties counting half; None where senseless.
        better: Which direction is an improvement.
        unit: What a unit is, in the plural.
        note: Why there is no interval, or what it does not cover; empty where there is nothing to say.
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

    @property
    def rises(self) -> bool:
        """Whether it improves, the whole 99 % interval on the better side of zero."""
        return self.ci99 is not None and self._gain(self.ci99)[0] > 0

    @property
    def falls(self) -> bool:
        """Whether it gets worse, the whole 99 % interval on the worse side of zero."""
        return self.ci99 is not None and self._gain(self.ci99)[1] < 0

    @property
    def gain(self) -> float:
        """Improvement: ``delta``, with its sign turned where lower is better."""
        return self.delta if self.better == "higher" else -self.delta

    def holds(self, margin: float) -> bool:
        """Whether it provably does not get worse by more than a margin.

        Args:
            margin: Loss that still counts as none, >= 0, in the measure's unit.

        Returns:
            True where the whole 95 % interval lies above ``-margin``.
        """
        return self.ci95 is not None and self._gain(self.ci95)[0] > -margin

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            The object that metrics.json holds.
        """
        ci95, ci99 = (None if one is None else [_short(x) for x in one] for one in (self.ci95, self.ci99))
        numbers = {"base": self.base, "tuned": self.tuned, "delta": self.delta}
        return {
            **{key: _short(value) for key, value in numbers.items()},
            "ci95": ci95,
            "ci99": ci99,
            "n": self.n,
            "wins": None if self.wins is None else _short(self.wins),
            "better": self.better,
            "unit": self.unit,
            "note": self.note,
        }

    def _gain(self, interval: Interval) -> Interval:
        low, high = interval
        return (low, high) if self.better == "higher" else (-high, -low)


def measure_from(plain: Mapping[str, Any]) -> Measure:
    """Read what `Measure.plain` wrote.

    Args:
        plain: An entry of metrics.json.

    Returns:
        The measure.
    """
    intervals = {
        key: None if plain[key] is None else (plain[key][0], plain[key][1]) for key in ("ci95", "ci99")
    }
    return Measure(**{**plain, **intervals})


def paired(
    base: Sequence[float] | Array,
    tuned: Sequence[float] | Array,
    prompts: Sequence[Hashable],
    *,
    better: Better = "higher",
    unit: str = "prompts",
    seed: int = 0,
) -> Measure:
    """Compare pictures of base and tuned model that share prompt and seed.

    Args:
        base: One number for each picture of the base, shape (N,), N >= 1.
        tuned: The same for the tuned model, in the same order.
        prompts: What groups the pictures: the prompt of each. Means over a group are what is resampled.
        better: Which direction is an improvement.
        unit: What a group is, in the plural.
        seed: Seed of the resampling.

    Returns:
        The measure. With fewer than `MIN_UNITS` groups but enough pictures, pictures are resampled and the
        note says that the interval does not cover other prompts.

    Raises:
        ValueError: If the three differ in length, are empty, or hold what is not a finite number.
    """
    befores, afters = np.asarray(base, float), np.asarray(tuned, float)
    if not 0 < len(befores) == len(afters) == len(prompts):
        raise ValueError(f"{len(befores)} base, {len(afters)} tuned, {len(prompts)} prompts")
    if not (np.isfinite(befores).all() and np.isfinite(afters).all()):
        raise ValueError("not a finite number among the values")
    groups, note = list(prompts), ""
    if len(set(groups)) < MIN_UNITS <= len(groups):
        note = f"only {len(set(groups))} {unit}: the interval covers the seeds, not other {unit}"
        groups, unit = list(range(len(groups))), "pictures"
    befores, afters = _group_means(befores, groups), _group_means(afters, groups)
    ci95, why_not = mean_interval(afters - befores, seed=seed)
    ci99, _ = mean_interval(afters - befores, seed=seed, level=0.99)
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
    )


def mean_interval(values: Array, *, seed: int = 0, level: float = 0.95) -> tuple[Interval | None, str]:
    """Bootstrap interval of a mean, widened so that small samples keep their promise.

    Args:
        values: Independent values, shape (n,).
        seed: Seed of the resampling.
        level: How often the interval covers the true mean, in (0, 1).

    Returns:
        The interval and an empty text, or None and the reason why there is none.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap" (expanded percentile interval).
    """
    if len(values) < MIN_UNITS:
        return None, f"interval not available: {len(values)} of the {MIN_UNITS} units that it needs"
    if np.ptp(values) == 0:
        return None, "interval not available: every unit shows the same difference"
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=expanded_level(len(values), level),
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return (float(result.confidence_interval.low), float(result.confidence_interval.high)), ""


def expanded_level(n: int, level: float = 0.95) -> float:
    """Nominal level at which a percentile interval of n values covers what a t interval covers.

    Args:
        n: Sample size, >= 2.
        level: Coverage wanted, in (0, 1).

    Returns:
        A level above ``level`` that tends to it as n grows.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap" (expanded percentile interval).
    """
    tail = (1 - level) / 2
    reach = np.sqrt(n / (n - 1)) * stats.t.ppf(1 - tail, n - 1)
    return float(1 - 2 * stats.norm.sf(reach))


def win_share(base: Array, tuned: Array, better: Better) -> float:
    """Share of pairs in which the tuned model is better.

    Args:
        base: Values of the base, shape (n,).
        tuned: Values of the tuned model, shape (n,).
        better: Which direction is an improvement.

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
