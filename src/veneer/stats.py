"""Paired differences of base and tuned model, with intervals: pure numpy and scipy.

The unit is the prompt, not the picture: pictures of one prompt are not independent. What else is a matter of
chance, such as seeds that prompts share or which pictures were held out, comes in as a `Chance`. One place,
`mean_interval`, says what an interval is. A measure that cannot have one says so (`Measure.note`); no number
stands in for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]
Better = Literal["higher", "lower"]
Interval = tuple[float, float]

MIN_UNITS = 5
"""Fewest units that get an interval: the smallest sample of four leaves its range one time in eight."""
RESAMPLES = 9999
SHORTEST_WAY = 0.02
"""Distance from base to real pictures below which no share of it is told."""
NO_SPREAD = 1e-12
"""Deviation of a mean below which it is taken for the same number in every unit."""


@dataclass(frozen=True)
class Chance:
    """A source of chance in a mean, beside its units.

    Attributes:
        variance: What it adds to the variance of the mean, >= 0.
        freedom: Degrees of freedom that the variance was estimated with, >= 1.
    """

    variance: float
    freedom: float


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
    """
    known = {field.name: plain[field.name] for field in fields(Measure) if field.name in plain}
    for key in ("ci95", "ci99", "sure"):
        known[key] = None if known.get(key) is None else (known[key][0], known[key][1])
    return Measure(**known)


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


def least_share(base: Array, tuned: Array, *, seed: int = 0, level: float = 0.95) -> float | None:
    """Share of the base's mean that is left at least: the lower end of the interval of a ratio.

    A unit with much to lose loses much, so the spread of differences hides what all units keep; the spread
    around a ratio does not.

    Args:
        base: One number for each unit, >= 0, shape (n,).
        tuned: The same for the tuned model, >= 0.
        level: How often the two-sided interval covers the true ratio.

    Returns:
        In [0, tuned / base]; None without an interval, or where the base has nothing to lose.

    Source: Fieller 1954, "Some Problems in Interval Estimation": the ratios that a test of
    ``tuned - ratio * base`` does not exclude.
    """
    if len(base) < MIN_UNITS or float(base.mean()) <= NO_SPREAD:
        return None

    def room(ratio: float) -> float:
        interval, _ = mean_interval(tuned - ratio * base, seed=seed, level=level)
        return interval[0] if interval else 0.0

    found = float(tuned.mean() / base.mean())
    if room(0.0) <= 0:
        return 0.0
    return found if room(found) >= 0 else float(optimize.brentq(room, 0.0, found, xtol=1e-3))


def mean_interval(
    values: Array, *, seed: int = 0, level: float = 0.95, also: Sequence[Chance] = ()
) -> tuple[Interval | None, str]:
    """Interval of a mean: the wider of a t interval and a bootstrap interval, at either end.

    A bootstrap of five to seven values has no tails to draw from, and a t interval knows nothing of skew.
    Where every unit shows the same difference the interval is that value.

    Args:
        values: Independent values, shape (n,).
        seed: Seed of the resampling.
        level: How often the interval covers the true mean, in (0, 1).
        also: Chances in the mean that the spread of the values does not show.

    Returns:
        The interval and an empty text, or None and the reason why there is none.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap" (expanded percentile interval);
    Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance Components".
    """
    n, middle = len(values), float(np.mean(values)) if len(values) else 0.0
    if n < MIN_UNITS:
        return None, f"interval not available: {n} of the {MIN_UNITS} units that it needs"
    own = Chance(float(np.var(values, ddof=1)) / n, n - 1)
    reach = _t_reach([own, *also], level)
    low, high = middle - reach, middle + reach
    if own.variance > NO_SPREAD**2:
        stretch = np.sqrt(1 + sum(one.variance for one in also) / own.variance)
        below, above = _bootstrap(values, level, seed)
        low = min(low, middle + (below - middle) * stretch)
        high = max(high, middle + (above - middle) * stretch)
    return (float(low), float(high)), ""


def _t_reach(chances: Sequence[Chance], level: float) -> float:
    """Half the width of a t interval, its degrees of freedom put together from all sources of chance."""
    whole = sum(one.variance for one in chances)
    if whole <= NO_SPREAD**2:
        return 0.0
    freedom = whole**2 / sum(one.variance**2 / one.freedom for one in chances)
    return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(whole))


def _bootstrap(values: Array, level: float, seed: int) -> Interval:
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=expanded_level(len(values), level),
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def shared_seeds(differences: Array, prompts: Sequence[Hashable], seeds: Sequence[Hashable]) -> Chance | None:
    """What the choice of seeds adds to the variance of the mean, where several prompts share seeds.

    A seed that turns the pictures of every prompt the same way is not averaged out by more prompts.

    Args:
        differences: Difference of each picture, shape (N,).

    Returns:
        The chance; None where no two seeds are shared, so that it cannot be told.

    Source: Searle, Casella & McCulloch 1992, "Variance Components", chapter 4 (crossed random effects).
    """
    groups = list(dict.fromkeys(prompts))
    index = np.asarray([groups.index(prompt) for prompt in prompts])
    counts = np.bincount(index)
    means = np.bincount(index, weights=differences) / counts
    pulls = (differences - means[index]) / (len(groups) * counts[index])
    by_seed: dict[Hashable, list[int]] = {}
    for row, one in enumerate(seeds):
        by_seed.setdefault(one, []).append(row)
    shared = [rows for rows in by_seed.values() if len(set(index[rows])) > 1]
    if len(shared) < 2:
        return None
    excess = sum(float(pulls[rows].sum() ** 2 - (pulls[rows] ** 2).sum()) for rows in shared)
    return Chance(max(0.0, excess) * len(shared) / (len(shared) - 1), len(shared) - 1)


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
    spread = reach * np.sqrt(measure.n) / stats.t.ppf(0.975, measure.n - 1)
    return next(
        (n for n in range(MIN_UNITS, 1000) if spread * stats.t.ppf(0.975, n - 1) < room * n**0.5), None
    )


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
