"""Curves of a training as SVG in the page: no script, no font, readable in light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from veneer.web.markup import escaped

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 10, 24
MAX_POINTS = 240
LABELS = {
    "loss": "Loss",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "images_per_second": "Pictures per second",
}


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: What it shows.
        points: (step, value), by rising step.
        css: Its class, which gives the colour.
    """

    name: str
    points: Sequence[tuple[float, float]]
    css: str = "v-line"


def training_charts(log: Path, held_out: Mapping[int, float]) -> str:
    """The charts of a run.

    Args:
        log: ``train/log.jsonl``.
        held_out: Held-out losses by step.

    Returns:
        HTML; empty where nothing was logged yet.
    """
    from veneer.proof.history import curves_of
    from veneer.records.trainlog import read_steps

    curves = curves_of(read_steps(log))
    charts = []
    for key, label in LABELS.items():
        if key not in curves:
            continue
        points = list(zip(curves[key].steps, curves[key].values, strict=True))
        lines = [Line("training", smooth(points) if key == "loss" else thinned(points))]
        if key == "loss" and held_out:
            lines.append(Line("held out", sorted(held_out.items()), "v-line v-second"))
        charts.append(chart(label, lines))
    return f'<div class="v-charts">{"".join(charts)}</div>' if charts else ""


def chart(title: str, lines: Sequence[Line]) -> str:
    """One chart.

    Args:
        title: What it shows.
        lines: Its lines, each with at least one point.

    Returns:
        A figure with a caption that tells the last value of each line.
    """
    points = [point for line in lines for point in line.points]
    x_low, x_high = min(p[0] for p in points), max(p[0] for p in points)
    y_low, y_high = _range([p[1] for p in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    drawn = "".join(_line(line, [place(*point) for point in line.points]) for line in lines)
    last = ", ".join(f"{line.name} {short(line.points[-1][1])}" for line in lines)
    keys = "".join(_key(line) for line in lines)
    heading = escaped(title) + (keys if len(lines) > 1 else f" <b>{short(lines[0].points[-1][1])}</b>")
    label = f"{escaped(title)}: {escaped(last)} at step {x_high:g}"
    axes = _axes((x_low, x_high), (y_low, y_high))
    return (
        f'<figure class="v-chart"><figcaption>{heading}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{axes}{drawn}</svg></figure>'
    )


def smooth(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """Running mean, so that a noisy loss can be read.

    Args:
        points: (step, value).
        share: Width of the window, as a share of all points.

    Returns:
        Thinned points.
    """
    width = max(1, int(len(points) * share))
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    means = []
    for end in range(1, len(points) + 1):
        start = max(0, end - width)
        means.append((points[end - 1][0], (sums[end] - sums[start]) / (end - start)))
    return thinned(means)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leave points out where there are more than a chart can show.

    Args:
        points: (step, value).

    Returns:
        Evenly chosen points; the last one stays.
    """
    every = max(1, math.ceil(len(points) / MAX_POINTS))
    return [*points[: len(points) - 1 : every], points[-1]]


def short(value: float) -> str:
    """A number with three digits.

    Args:
        value: The number.

    Returns:
        Such as "0.123" or "1e-05".
    """
    return f"{value:.3g}"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def _line(line: Line, places: Sequence[tuple[float, float]]) -> str:
    if len(places) == 1:
        x, y = places[0]
        return f'<circle class="{line.css} v-dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{line.css}" points="{path}"/>'


def _key(line: Line) -> str:
    return f'<span class="v-key {line.css}">{escaped(line.name)} {short(line.points[-1][1])}</span>'


def _axes(x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        value = y_range[0] + share * (y_range[1] - y_range[0])
        parts.append(f'<line class="v-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    for x, anchor, step in ((LEFT, "start", x_range[0]), (WIDTH - RIGHT, "end", x_range[1])):
        parts.append(f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">step {step:g}</text>')
    return "".join(parts)
