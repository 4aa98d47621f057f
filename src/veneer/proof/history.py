"""What training left behind: held-out losses of every candidate, and the log of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from veneer.proof.facts import Losses
from veneer.records.candidates import CandidatesFile, WeightsKind
from veneer.records.trainlog import LoggedStep


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps.

    Attributes:
        steps: Optimizer steps, rising.
        values: The quantity at each; never longer or shorter than ``steps``.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


def losses_of(known: CandidatesFile) -> Losses | None:
    """Held-out loss over the run, for the rules of the verdict.

    Returns:
        The losses; None where nothing was held out.
    """
    judged = [(one.step, one.loss) for one in known.candidates if _is_number(one.loss)]
    chosen, base = known.chosen, known.base_loss
    if chosen is None or not _is_number(chosen.loss) or not _is_number(base) or not judged:
        return None
    best_step, best = min(judged, key=lambda one: one[1])
    last_step, last = max(judged, key=lambda one: one[0])
    return Losses(
        base=base,
        chosen=chosen.loss,
        chosen_step=chosen.step,
        best=best,
        best_step=best_step,
        last=last,
        last_step=last_step,
    )


def picture_losses(known: CandidatesFile) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Held-out loss of each picture, by the base and by the chosen candidate.

    Returns:
        Both, in the same order; None where they were not kept.
    """
    before, after = (() if one is None else one.losses for one in (known.base, known.chosen))
    if not before or len(before) != len(after) or not all(map(_is_number, [*before, *after])):
        return None
    return before, after


def curves_of(steps: Sequence[LoggedStep]) -> dict[str, Curve]:
    """Turn the log of training into curves.

    Args:
        steps: The steps, ascending.

    Returns:
        Curves by the log's own keys, such as "loss"; without those that were never a finite number.
    """
    curves = {}
    for key in sorted(set(LoggedStep.model_fields) - {"step"}):
        points = [(one.step, value) for one in steps if _is_number(value := getattr(one, key))]
        if points:
            known, values = zip(*points, strict=True)
            curves[key] = Curve(known, values)
    return curves


def held_out_curve(known: CandidatesFile, kind: WeightsKind = "step") -> Curve:
    """Held-out loss over the steps, the base's at step 0.

    Args:
        kind: Which candidates.

    Returns:
        The curve; empty where nothing was held out.
    """
    points = {0: known.base_loss} if kind == "step" else {}
    points |= {one.step: one.loss for one in known.candidates if one.kind == kind}
    numbers = {step: loss for step, loss in sorted(points.items()) if _is_number(loss)}
    return Curve(tuple(numbers), tuple(numbers.values()))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
