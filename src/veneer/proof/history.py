"""What training left behind: held-out losses of every candidate, and the log of every step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.errors import RunError
from veneer.proof.verdict import Losses


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps.

    Attributes:
        steps: Optimizer steps, rising.
        values: The quantity at each; never longer or shorter than ``steps``.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_candidates(path: Path) -> Mapping[str, Any]:
    """Read what the stage train found out about its candidates.

    Args:
        path: ``train/candidates.json``.

    Returns:
        Its content; empty where there is no such file.

    Raises:
        RunError: If the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise RunError(
            f"damaged: {error}", where=str(path), todo="Train again: `veneer train RUN`"
        ) from error


def losses_of(candidates: Mapping[str, Any]) -> Losses | None:
    """Held-out loss over the run, for the rules of the verdict.

    Args:
        candidates: Content of ``train/candidates.json``.

    Returns:
        The losses; None where nothing was held out.
    """
    chosen, base = candidates.get("chosen"), candidates.get("base_loss")
    judged = [one for one in candidates.get("candidates", []) if _is_number(one["loss"])]
    if not chosen or base is None or not _is_number(base) or not _is_number(chosen["loss"]) or not judged:
        return None
    best = min(judged, key=lambda one: float(one["loss"]))
    last = max(judged, key=lambda one: int(one["step"]))
    return Losses(
        base=float(base),
        chosen=float(chosen["loss"]),
        chosen_step=int(chosen["step"]),
        best=float(best["loss"]),
        best_step=int(best["step"]),
        last=float(last["loss"]),
        last_step=int(last["step"]),
    )


def picture_losses(candidates: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Held-out loss of each picture, by the base and by the chosen candidate.

    Args:
        candidates: Content of ``train/candidates.json``.

    Returns:
        Both, in the same order; None where they were not kept.
    """
    base, chosen = candidates.get("base") or {}, candidates.get("chosen") or {}
    before, after = base.get("losses") or (), chosen.get("losses") or ()
    if not before or len(before) != len(after) or not all(map(_is_number, [*before, *after])):
        return None
    return tuple(map(float, before)), tuple(map(float, after))


def read_log(path: Path) -> dict[str, Curve]:
    """Read the log of every step.

    Args:
        path: ``train/log.jsonl``. A line cut short by a kill is left out; the last line of a step counts.

    Returns:
        Curves by the log's own keys, "loss", "lr", "grad_norm", "grad_norm_clipped" and others.
    """
    by_step: dict[int, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
            by_step[int(entry["step"])] = entry
        except (ValueError, KeyError, TypeError):
            continue
    steps = sorted(by_step)
    keys = {key for entry in by_step.values() for key, value in entry.items() if _is_number(value)} - {"step"}
    curves = {}
    for key in sorted(keys):
        known = [step for step in steps if _is_number(by_step[step].get(key))]
        curves[key] = Curve(tuple(known), tuple(float(by_step[step][key]) for step in known))
    return curves


def held_out_curve(candidates: Mapping[str, Any], kind: str = "step") -> Curve:
    """Held-out loss over the steps, the base's at step 0.

    Args:
        candidates: Content of ``train/candidates.json``.
        kind: Which candidates: "step", "ema" or "average".

    Returns:
        The curve; empty where nothing was held out.
    """
    points = {0: candidates.get("base_loss")} if kind == "step" else {}
    points |= {
        int(one["step"]): one["loss"] for one in candidates.get("candidates", []) if one["kind"] == kind
    }
    known = sorted(step for step, loss in points.items() if _is_number(loss))
    return Curve(tuple(known), tuple(float(points[step] or 0.0) for step in known))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
