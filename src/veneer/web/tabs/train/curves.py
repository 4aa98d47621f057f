"""Curves of a training in the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from veneer.web.markup import escaped

if TYPE_CHECKING:
    from veneer.proof.charts import Line
    from veneer.proof.history import Curve

LABELS = {
    "loss": "Loss",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "images_per_second": "Pictures per second",
}


def training_charts(log: Path, held_out: Mapping[int, float]) -> str:
    """The charts of a run.

    Args:
        log: ``train/log.jsonl``.
        held_out: Held-out losses by step.

    Returns:
        HTML; empty where nothing was logged yet.
    """
    from veneer.proof.charts import Line
    from veneer.proof.history import Curve, curves_of
    from veneer.records.trainlog import read_steps

    curves = curves_of(read_steps(log))
    charts = []
    for key, label in LABELS.items():
        if key not in curves:
            continue
        lines = [Line("training", smooth(curves[key]) if key == "loss" else curves[key])]
        if key == "loss" and held_out:
            steps = tuple(sorted(held_out))
            lines.append(Line("held out", Curve(steps, tuple(held_out[s] for s in steps)), has_dots=True))
        charts.append(chart(label, lines))
    return f'<div class="v-charts">{"".join(charts)}</div>' if charts else ""


def chart(title: str, lines: list[Line]) -> str:
    """One chart.

    Args:
        title: What it shows.
        lines: One or two lines, each with at least one point.

    Returns:
        A figure with a caption that tells the last value of each line.
    """
    from veneer.proof.charts import draw_chart

    last = ", ".join(f"{line.label} {short(line.curve.values[-1])}" for line in lines)
    label = f"{title}: {last} at step {max(line.curve.steps[-1] for line in lines)}"
    heading = escaped(title)
    if len(lines) == 1:
        heading += f" <b>{short(lines[0].curve.values[-1])}</b>"
    else:
        heading += "".join(_key(line, css) for line, css in zip(lines, ("", " v-second"), strict=True))
    drawn = draw_chart(label, lines, has_legend=False)
    return f'<figure class="v-chart"><figcaption>{heading}</figcaption>{drawn}</figure>'


def smooth(curve: Curve, share: float = 0.05) -> Curve:
    """Running mean, so that a noisy loss can be read.

    Args:
        curve: Any number of points.
        share: Width of the window, as a share of all points.

    Returns:
        As many points.
    """
    from veneer.proof.history import Curve

    width = max(1, int(len(curve.steps) * share))
    sums = [0.0]
    for value in curve.values:
        sums.append(sums[-1] + value)
    starts = [max(0, end - width) for end in range(1, len(sums))]
    means = [(sums[end] - sums[start]) / (end - start) for end, start in enumerate(starts, 1)]
    return Curve(curve.steps, tuple(means))


def short(value: float) -> str:
    """A number with three digits, such as "0.123" or "1e-05"."""
    return f"{value:.3g}"


def _key(line: Line, css: str) -> str:
    return f'<span class="v-key{css}">{escaped(line.label)} {short(line.curve.values[-1])}</span>'
